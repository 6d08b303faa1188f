//! Tests of the whole: the library through its public interface, the binary as its users run it, real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adversarial_dependence;
mod alerting;
mod alternatives;
mod argo;
mod argo_provider;
mod brute_force;
mod bursts;
mod cli_check;
mod cli_query;
mod cli_upstream;
mod common_cause;
mod compile;
mod compiled_alerts;
mod connections;
mod coverage;
mod demo;
mod emac_binary;
mod error_budget;
mod every_way;
mod evidence_engine;
mod evidence_http;
mod evidence_prometheus;
mod explain;
mod fault_table;
mod faults;
mod faulty_upstream;
mod fuzz;
mod gaussian_copula;
mod generated_code;
mod grafana;
mod http_client;
mod http_conformance;
mod interpolation;
mod journey_builder;
mod layering;
mod live_shop;
mod monte_carlo;
mod native_histogram;
mod odd_evidence;
mod openslo;
mod oracles;
mod page;
mod passthrough;
mod prometheus;
mod promql_api;
mod promql_generated;
mod promql_hostile;
mod promql_mixed;
mod promql_scripts;
mod promql_traps;
mod properties;
mod remote_read;
mod remote_read_client;
mod remote_read_load;
mod remote_read_prometheus;
mod sensitivities;
mod serve;
mod serve_prometheus;
mod serve_promql;
mod served;
mod shipped_files;
mod simulated_trees;
mod spec;
mod tenant;
mod upstream_guards;
mod variant;
mod victoria;
mod web_config;
mod what_if;

#[path = "../support/closed_connection.rs"]
mod closed_connection;
#[path = "../support/coverage_study.rs"]
mod coverage_study;
#[path = "../support/interpolation_study.rs"]
mod interpolation_study;
#[path = "../support/joint_law.rs"]
mod joint_law;
#[path = "../support/random_tree.rs"]
mod random_tree;
#[path = "../support/simulation.rs"]
#[expect(dead_code, reason = "shared with the study of coverage")]
mod simulation;
#[path = "../support/transport.rs"]
mod transport;

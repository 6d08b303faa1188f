//! The estimate from Prometheus' default buckets, against laws that are known exactly (`examples/interpolation.rs` is the
//! study).

use crate::interpolation_study::{FAMILIES, errors, middle};

#[test]
fn the_p99_from_default_buckets_is_within_a_percent_where_linear_interpolation_is_not() {
    for family in FAMILIES {
        let errors = errors(family, 200, 5);
        let (estimate, linear) = (middle(&errors.estimate), middle(&errors.linear));
        let most = if family == "bimodal" { 0.025 } else { 0.01 };
        assert!(estimate <= most, "{family}: median error {estimate}");
        assert!(linear > 3.0 * estimate, "{family}: {estimate}, linear {linear}");
    }
}

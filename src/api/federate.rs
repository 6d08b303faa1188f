//! `/federate`: the current values of selected series, the upstream's and ours, to be scraped by another Prometheus.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, StatusCode, header};

use super::classify::{Side, side};
use super::discovery::selector;
use super::error::ApiError;
use super::exposition::{self, Format};
use super::parameters::Call;
use super::state::ApiState;
use super::{body, forward, reply, tenant};
use crate::promql::matcher::MatcherSet;
use crate::series::{Labels, NAME};
use crate::synthetic::catalog;

/// `/federate`
///
/// Ours stand there without timestamps: with them the scraping side writes no stale marker when a series ends. As in
/// Prometheus, a series without `instance` gets an empty one, so that `honor_labels` keeps the scraper from adding its
/// own. What cannot be answered is not there, as in a scrape.
pub(crate) async fn federate(State(state): State<ApiState>, request: Request) -> Response {
    if *request.method() != Method::GET {
        return forward::untouched(&state, request).await;
    }
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(error) => return error.into_response(),
    };
    let mut ours: Vec<MatcherSet> = Vec::new();
    let mut theirs = false;
    for text in call.parameters().into_iter().flat_map(|parameters| parameters.all("match[]")) {
        match selector(&state, text) {
            Ok(None) => theirs = true,
            Ok(Some(matchers)) => {
                theirs |= side(&matchers, &state) != Side::Ours;
                ours.push(matchers);
            }
            Err(error) => return error.into_response(),
        }
    }
    if tenant::is_foreign(&state, call.headers()) {
        if ours.iter().any(|matchers| side(matchers, &state) == Side::Ours) {
            return tenant::refusal(&state).into_response();
        }
        ours.clear();
    }
    if ours.is_empty() {
        return forward::unchanged(&state, call).await;
    }
    let mut samples = exposition::current(&state);
    samples.retain(|(labels, _)| ours.iter().any(|matchers| matchers.matches(labels)));
    let mut text = exposition::write(&samples, Format::Federated);
    if theirs {
        text = match upstream(&state, call).await {
            Ok(answer) => merged(&answer, &samples, &text),
            Err(response) => return *response,
        };
    }
    reply::own(200, exposition::TEXT, text)
}

/// The upstream's answer in the text format.
async fn upstream(state: &ApiState, call: Call) -> Result<String, Box<Response>> {
    let name = state.upstream().name();
    // Half of what was asked for would read like the whole: the scrape fails instead, and says so as `up == 0`.
    let failed = |fault: String| {
        Box::new(ApiError { status: Some(503), ..ApiError::execution(fault) }.into_response())
    };
    let mut request = call.into_readable_request();
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/plain;version=0.0.4"));
    let answer = state.upstream().forward(request).await.map_err(|error| failed(error.to_string()))?;
    let (head, body) = answer.into_parts();
    let mut reserved = state.memory().open();
    let bytes = body::read(body, state.settings().limits.body_bytes, &mut reserved).await;
    let bytes = bytes.map_err(|error| failed(format!("upstream {name}: {error}")))?;
    if head.status.is_client_error() {
        return Err(Box::new(reply::own(head.status.as_u16(), "text/plain; charset=utf-8", bytes)));
    }
    if head.status != StatusCode::OK {
        return Err(failed(format!("upstream {name} answered {}", head.status.as_u16())));
    }
    String::from_utf8(bytes.into()).map_err(|_| failed(format!("upstream {name} did not answer in text")))
}

/// Their families, then ours. Where the upstream holds recorded copies, a copy with the labels of one of ours gives way
/// and the others join its family, which may stand in one place only.
fn merged(theirs: &str, samples: &[(Labels, f64)], ours: &str) -> String {
    let names: BTreeSet<&str> = samples.iter().map(|(labels, _)| labels.get(NAME)).collect();
    let held: BTreeSet<&Labels> = samples.iter().map(|(labels, _)| labels).collect();
    let mut out = String::with_capacity(theirs.len() + ours.len());
    let mut copies: Vec<(&str, &str)> = Vec::new();
    for line in theirs.lines() {
        let name = family_of(line);
        if !names.contains(name) {
            out.push_str(line);
            out.push('\n');
        } else if !line.starts_with('#') && labels_of(line).is_none_or(|labels| !held.contains(&labels)) {
            copies.push((name, line));
        }
    }
    let mut lines = ours.lines().peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let name = family_of(line);
        if lines.peek().is_none_or(|next| family_of(next) != name) {
            for (_, copy) in copies.iter().filter(|(family, _)| *family == name) {
                out.push_str(copy);
                out.push('\n');
            }
        }
    }
    out
}

/// The name of the family to which a line belongs.
fn family_of(line: &str) -> &str {
    let rest = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP ")).unwrap_or(line);
    let name = rest.split(['{', ' ']).next().unwrap_or_default();
    // A synthetic family is a gauge, also where its name ends like that of a histogram's series.
    catalog::family(name).map_or(name, |family| family.name)
}

/// The labels of a sample line; `None` where it is not one.
fn labels_of(line: &str) -> Option<Labels> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = Labels::named(name);
    let Some(mut rest) = rest.strip_prefix('{') else { return Some(labels) };
    while !rest.starts_with('}') {
        let (label, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, c) => value.push(c),
            }
        };
        labels.set(label, value);
        rest = after.get(end + 1..)?.trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let labels = labels_of(r#"x{a="b\"\\\n}",instance="",c="d"} 1 1000"#).unwrap();
        assert_eq!(labels, Labels::named("x").with("a", "b\"\\\n}").with("c", "d"));
        assert_eq!(labels_of("x 1").unwrap(), Labels::named("x"));
        for line in ["", "x", "x{", "x{a", "x{a=\"", "x{a=\"b", "x{a=\"b\\"] {
            assert_eq!(labels_of(line), None, "{line}");
        }
    }

    #[test]
    fn a_recorded_copy_gives_way_and_others_join_the_family() {
        let gate = "emac_journey_gate";
        let theirs = format!(
            "# TYPE a untyped\na{{instance=\"\"}} 1 5\n# TYPE {gate} untyped\n{gate}{{journey=\"j\",instance=\"\"}} 0 5\n\
             {gate}{{journey=\"j\",instance=\"b\"}} 1 5\n# TYPE z untyped\nz 1 5\n"
        );
        let samples = vec![
            (Labels::named(gate).with("journey", "j"), 1.0),
            (Labels::named("emac_journey_model_info").with("journey", "j"), 1.0),
        ];
        let text = exposition::write(&samples, Format::Federated);
        let lines = merged(&theirs, &samples, &text);
        let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE a untyped",
                "a{instance=\"\"} 1 5",
                "# TYPE z untyped",
                "z 1 5",
                "# TYPE emac_journey_gate gauge",
                "emac_journey_gate{journey=\"j\",instance=\"\"} 1",
                "emac_journey_gate{journey=\"j\",instance=\"b\"} 1 5",
                "# TYPE emac_journey_model_info gauge",
                "emac_journey_model_info{journey=\"j\",instance=\"\"} 1",
            ]
        );
    }
}

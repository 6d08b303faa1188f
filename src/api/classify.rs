//! Whose series a query is about.

use std::sync::Arc;

use super::error::ApiError;
use crate::promql::expression::Node;
use crate::promql::guard;
use crate::promql::matcher::MatcherSet;
use crate::promql::pushdown::Origin;
pub(crate) use crate::promql::pushdown::Side;
use crate::promql::query::Query;
use crate::series::Labels;
use crate::synthetic::catalog;

/// Whose series a query is about.
#[derive(Debug, PartialEq)]
pub(crate) enum Concern {
    /// None of ours: the upstream answers, whatever the text means.
    Upstream,
    /// One selector on its own that matches series of both: the answer is the union.
    Union(Query),
    /// Some of its selectors match series of ours: it is planned.
    Planned(Query),
}

/// Decides by a linear scan, and parses only where that leaves a doubt. `ours` are the series of the model; they
/// are asked for only where a selector has no literal name.
///
/// # Errors
/// 400 where a text that names a synthetic series cannot be parsed.
pub(crate) fn classify(text: &str, max_bytes: usize, ours: &dyn Known) -> Result<Concern, ApiError> {
    let concerns = guard::concerns(text, catalog::is_synthetic);
    if !concerns.any() {
        return Ok(Concern::Upstream);
    }
    let query = match Query::parse(text, max_bytes) {
        Ok(query) => query,
        Err(error) if concerns.named => return Err(error.into()),
        // Newer syntax than ours, or a fault that the upstream words better.
        Err(_) => return Ok(Concern::Upstream),
    };
    let sides: Vec<Side> = query.selectors().iter().map(|matchers| side(matchers, ours)).collect();
    Ok(if sides.iter().all(|side| *side == Side::Theirs) {
        Concern::Upstream
    } else if query.is_selector() && sides == [Side::Both] {
        Concern::Union(query)
    } else {
        Concern::Planned(query)
    })
}

/// Plans by the model's series, and pushes down as configured.
pub(crate) struct ByModel<'a> {
    pub(crate) ours: &'a dyn Known,
    pub(crate) pushdown: bool,
}

impl Origin for ByModel<'_> {
    fn side(&self, matchers: &MatcherSet) -> Side {
        side(matchers, self.ours)
    }

    fn pushes(&self, _: &Node) -> bool {
        self.pushdown
    }
}

/// The synthetic series that there are.
pub(crate) trait Known {
    /// Whether some have this label, whatever its value.
    fn has_label(&self, name: &str) -> bool;

    /// Their labels; asked for only where nothing cheaper decides.
    fn series(&self) -> Arc<Vec<Labels>>;
}

/// Whose series a selector is about.
pub(crate) fn side(matchers: &MatcherSet, ours: &dyn Known) -> Side {
    match matchers.literal_name() {
        Some(name) if catalog::is_synthetic(name) => Side::Ours,
        Some(_) => Side::Theirs,
        None => {
            let possible = catalog::families().iter().any(|family| matchers.matches_name(family.name))
                && matchers.matches_without_others(|label| ours.has_label(label));
            if possible && ours.series().iter().any(|labels| matchers.matches(labels)) {
                Side::Both
            } else {
                Side::Theirs
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::prometheus_json::ErrorType;

    struct One;

    impl Known for One {
        fn has_label(&self, name: &str) -> bool {
            ["journey", "verdict"].contains(&name)
        }

        fn series(&self) -> Arc<Vec<Labels>> {
            let gate = Labels::named("emac_journey_gate").with("journey", "checkout").with("verdict", "pass");
            Arc::new(vec![gate])
        }
    }

    fn concern(text: &str) -> Result<&'static str, ErrorType> {
        match classify(text, guard::MAX_QUERY_BYTES, &One) {
            Ok(Concern::Upstream) => Ok("upstream"),
            Ok(Concern::Planned(_)) => Ok("planned"),
            Ok(Concern::Union(_)) => Ok("union"),
            Err(error) => Err(error.kind),
        }
    }

    #[test]
    fn a_query_belongs_to_those_whose_series_it_selects() {
        for (text, whose) in [
            ("up", "upstream"),
            ("1+1", "upstream"),
            ("", "upstream"),
            ("emac_build_info", "upstream"),
            ("{job=\"emac_journey_gate\"}", "upstream"),
            ("{journey=\"search\"}", "upstream"),
            ("{__name__=~\"node_.*\"}", "upstream"),
            ("count({__name__=~\"up|down\"})", "upstream"),
            ("emac_journey_gate", "planned"),
            ("emac_journey_gate{journey=\"search\"} offset 5m", "planned"),
            ("{__name__=\"emac_journey_gate\"}", "planned"),
            ("1 - emac_journey_availability_estimate", "planned"),
            ("{journey=\"checkout\"}", "union"),
            ("({__name__=~\".*journey.*\"} offset 1m)", "union"),
            ("{__name__=~\"emac.+\"}[5m]", "union"),
            ("{__name__!=\"up\"}", "upstream"),
        ] {
            assert_eq!(concern(text), Ok(whose), "{text}");
        }
    }

    #[test]
    fn what_we_cannot_parse_is_an_error_only_where_it_names_a_synthetic_series() {
        for text in ["up{", "foo(((", "{a=\"b\"} newsyntax 5", "sum({a=\"b\"", "emac_other{"] {
            assert_eq!(concern(text), Ok("upstream"), "{text}");
        }
        let nested = format!("{}emac_journey_gate{}", "(".repeat(3_000), ")".repeat(3_000));
        for text in ["emac_journey_gate{", "sum(emac_journey_gate", "emac_journey_gate newsyntax", &nested] {
            assert_eq!(concern(text), Err(ErrorType::BadData), "{}", &text[..20]);
        }
    }

    #[test]
    fn syntax_newer_than_the_parser_is_passed_on_where_no_synthetic_series_is_named() {
        for text in ["rate(x[5m] smoothed)", "increase({job=\"a\"}[5m] anchored)", "x smoothed"] {
            assert_eq!(concern(text), Ok("upstream"), "{text}");
        }
        let text = "emac_journey_gate * on () group_left () sum(rate(x[5m] smoothed))";
        let error = classify(text, guard::MAX_QUERY_BYTES, &One).unwrap_err();
        assert_eq!(error.kind, ErrorType::BadData);
        let expected = "invalid parameter \"query\": 1:56: the range modifier \"smoothed\" is not supported";
        assert!(error.message.starts_with(expected), "{}", error.message);
        // These the parser knows.
        assert_eq!(concern("x + fill(0) y"), Ok("upstream"));
        assert_eq!(concern("emac_journey_gate + on (journey) fill_left(0) fill_right(1) y"), Ok("planned"));
    }

    #[test]
    fn mixed_expressions_are_planned() {
        for text in [
            "emac_journey_gate and up",
            "sum({journey=\"checkout\"})",
            "count by (__name__) ({__name__=~\".+\"})",
            "emac_journey_gate * {journey=\"checkout\"}",
        ] {
            assert_eq!(concern(text), Ok("planned"), "{text}");
        }
    }
}

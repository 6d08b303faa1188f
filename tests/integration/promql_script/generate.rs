//! Random expressions over a given set of series, all of them well typed.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A number in the environment.
pub(crate) fn number_of(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Writes expressions.
pub(crate) struct Generator {
    random: StdRng,
    vocabulary: Vocabulary,
}

/// What expressions are made of.
#[derive(Debug, Clone)]
pub(crate) struct Vocabulary {
    pub(crate) selectors: Vec<String>,
    /// Modifiers of selectors and subqueries, as often as they are to appear.
    pub(crate) shifts: Vec<String>,
    /// A range vector of a counter: what ranks is compared by values that are never equal.
    pub(crate) counter: String,
    /// Leaves out what 2.x does not know, or is known to answer otherwise: functions of 3.x; deviations and
    /// `quantile_over_time`, `predict_linear` where a value may be no number or `@` stands; `rate` and the like, whose
    /// extrapolation to zero changed; `absent` of inequalities; `atan2`.
    pub(crate) for_version_2: bool,
}

impl Default for Vocabulary {
    fn default() -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            selectors: owned(&SELECTORS),
            shifts: owned(&OFFSETS),
            counter: "c_total".to_owned(),
            for_version_2: false,
        }
    }
}

const SELECTORS: [&str; 9] = [
    "g",
    "c_total",
    "g{job=\"api\"}",
    "g{zone=~\"a|b\"}",
    "c_total{job!=\"db\"}",
    "h_bucket",
    "none",
    "sparse",
    "{__name__=~\"g|sparse\", job=\"api\"}",
];

const OFFSETS: [&str; 7] = ["", "", "", " offset 37s", " offset -2m", " @ 1000", " @ end() offset 1m"];

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_vocabulary(seed, Vocabulary::default())
    }

    pub(crate) fn with_vocabulary(seed: u64, vocabulary: Vocabulary) -> Self {
        Self { random: StdRng::seed_from_u64(seed), vocabulary }
    }

    /// A selector without modifiers.
    fn series(&mut self) -> String {
        let at = self.random.random_range(0..self.vocabulary.selectors.len());
        self.vocabulary.selectors[at].clone()
    }

    fn shift(&mut self) -> String {
        let at = self.random.random_range(0..self.vocabulary.shifts.len());
        self.vocabulary.shifts[at].clone()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.random.random_range(0..from.len())]
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    /// An expression of a vector or a scalar.
    pub(crate) fn expression(&mut self) -> String {
        let depth = self.random.random_range(1..4);
        if self.one_in(12) { self.scalar(depth) } else { self.vector(depth) }
    }

    fn scalar(&mut self, depth: u32) -> String {
        match self.random.random_range(0..if depth == 0 { 2 } else { 5 }) {
            0 => self.pick(&["2", "0.5", "-3", "1e3", "NaN", "Inf", "7"]).to_owned(),
            1 => self.pick(&["time()", "pi()", "3"]).to_owned(),
            2 => format!("scalar({})", self.vector(depth - 1)),
            3 => format!(
                "({} {} {})",
                self.scalar(depth - 1),
                self.pick(&["+", "-", "*", "/"]),
                self.scalar(0)
            ),
            _ => format!(
                "({} {} bool {})",
                self.scalar(depth - 1),
                self.pick(&["==", "!=", "<", ">="]),
                self.scalar(0)
            ),
        }
    }

    fn small(&mut self) -> &'static str {
        self.pick(&["0", "0.3", "0.5", "0.9", "1", "2", "-1"])
    }

    fn selector(&mut self) -> String {
        format!("{}{}", self.series(), self.shift())
    }

    fn range(&mut self, depth: u32) -> String {
        if depth > 0 && self.one_in(3) {
            let inner = self.vector(depth - 1);
            let step = self.pick(&[":", ":30s", ":45s", ":1m", ":7s"]);
            let mut range = self.pick(&["2m", "5m", "90s", "10m"]);
            let shift = self.shift();
            // Of a subquery that begins exactly when its query does, Prometheus leaves `@` as it stood before the
            // subquery's offset was known, and reads at another time. (Closed ranges alone begin on such a step.)
            if self.vocabulary.for_version_2 && inner.contains('@') && range == "2m" && shift == " offset -2m"
            {
                range = "5m";
            }
            return format!("({inner})[{range}{step}]{shift}");
        }
        let range = self.pick(&["30s", "1m", "5m", "20m", "95s"]);
        format!("{}[{range}]{}", self.series(), self.shift())
    }

    fn labels(&mut self) -> &'static str {
        self.pick(&["job", "zone", "job, zone", "", "le", "nothing", "job, le"])
    }

    fn grouping(&mut self) -> String {
        match self.random.random_range(0..3) {
            0 => String::new(),
            1 => format!(" by ({})", self.labels()),
            _ => format!(" without ({})", self.labels()),
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.selector();
        }
        let depth = depth - 1;
        match self.random.random_range(0..12) {
            0 => self.selector(),
            1 | 2 => self.over_range(depth),
            3 | 4 => self.aggregation(depth),
            5..=7 => self.binary(depth),
            8 => format!("vector({})", self.scalar(depth)),
            9 => self.labelled(depth),
            10 => self.histogram(depth),
            _ => self.instant(depth),
        }
    }

    fn over_range(&mut self, depth: u32) -> String {
        let range = self.range(depth);
        if self.vocabulary.for_version_2 {
            let name = self.pick(&[
                "resets",
                "changes",
                "idelta",
                "irate",
                "avg_over_time",
                "sum_over_time",
                "count_over_time",
                "min_over_time",
                "max_over_time",
                "last_over_time",
                "present_over_time",
                "absent_over_time",
            ]);
            let at = range.contains('@');
            return match self.random.random_range(0..8) {
                0 if !at => format!("quantile_over_time({}, {range})", self.small()),
                1 if !at => format!("predict_linear({range}, {})", self.pick(&["60", "-300", "3600"])),
                2 => format!("{}({range})", self.pick(&["delta", "deriv"])),
                3 if range.starts_with("c_total") => {
                    format!("{}({range})", self.pick(&["rate", "increase"]))
                }
                _ => format!("{name}({range})"),
            };
        }
        match self.random.random_range(0..10) {
            0 => format!("quantile_over_time({}, {range})", self.small()),
            1 => format!("predict_linear({range}, {})", self.pick(&["60", "-300", "3600"])),
            2 => format!("absent_over_time({range})"),
            3 => {
                let name = self.pick(&[
                    "ts_of_min_over_time",
                    "ts_of_max_over_time",
                    "ts_of_first_over_time",
                    "ts_of_last_over_time",
                    "first_over_time",
                ]);
                format!("{name}({range})")
            }
            4 => {
                format!("double_exponential_smoothing({range}, 0.3, 0.6)")
            }
            _ => {
                let name = self.pick(&[
                    "rate",
                    "increase",
                    "delta",
                    "irate",
                    "idelta",
                    "resets",
                    "changes",
                    "deriv",
                    "avg_over_time",
                    "sum_over_time",
                    "count_over_time",
                    "min_over_time",
                    "max_over_time",
                    "stddev_over_time",
                    "stdvar_over_time",
                    "last_over_time",
                    "present_over_time",
                    "rate",
                    "increase",
                ]);
                format!("{name}({range})")
            }
        }
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let inner = self.vector(depth);
        let grouping = self.grouping();
        match self.random.random_range(0..8) {
            // Which of equals are kept depends on the order of the storage, so values differ.
            0 => {
                let counter = self.vocabulary.counter.clone();
                let distinct = match self.random.random_range(0..3) {
                    0 => format!("rate({counter}[5m])"),
                    1 => format!("increase({counter}[4m] offset 37s)"),
                    _ => format!("delta({counter}[10m])"),
                };
                format!(
                    "{}{grouping} ({}, {distinct})",
                    self.pick(&["topk", "bottomk"]),
                    self.pick(&["1", "2", "3"])
                )
            }
            1 => format!("quantile{grouping} ({}, {inner})", self.small()),
            2 => format!("count_values{grouping} (\"v\", ceil(clamp({inner}, -99, 99)))"),
            3 | 4 if self.vocabulary.for_version_2 => {
                format!("{}{grouping} ({inner})", self.pick(&["sum", "max", "count"]))
            }
            3 => {
                format!("limit_ratio{grouping} ({}, {inner})", self.pick(&["0.5", "-0.3", "1"]))
            }
            4 => {
                // Squares of large numbers would be added in another order.
                let name = self.pick(&["stddev", "stdvar"]);
                format!("{name}{grouping} (clamp({inner}, -9, 9))")
            }
            _ => {
                format!("{}{grouping} ({inner})", self.pick(&["sum", "avg", "min", "max", "count", "group"]))
            }
        }
    }

    fn binary(&mut self, depth: u32) -> String {
        let arithmetic = ["+", "-", "*", "/", "^"];
        let comparisons = ["==", "!=", "<", ">", "<=", ">=", "> bool", "== bool", "<= bool"];
        let operator = match self.random.random_range(0..6) {
            0 => {
                let operator = self.pick(&["and", "or", "unless"]);
                let matching = match self.random.random_range(0..3) {
                    0 => String::new(),
                    1 => format!(" on ({})", self.labels()),
                    _ => format!(" ignoring ({})", self.labels()),
                };
                return format!("({}) {operator}{matching} ({})", self.vector(depth), self.vector(depth));
            }
            1..=3 => self.pick(&arithmetic),
            _ => self.pick(&comparisons),
        };
        match self.random.random_range(0..5) {
            // As is said of `operand`.
            0 if operator == "^" => {
                format!("({}) ^ {}", self.vector(depth), self.pick(&["2", "0.5", "-3", "7"]))
            }
            0 => format!("({}) {operator} ({})", self.vector(depth), self.scalar(depth)),
            1 => format!("({}) {operator} ({})", self.scalar(depth), self.operand(operator, depth)),
            2 => format!("({}) {operator} ({})", self.vector(depth), self.operand(operator, depth)),
            3 => {
                let labels = self.pick(&["job", "zone", "job, zone"]);
                let one = self.operand(operator, depth);
                format!(
                    "({}) {operator} on ({labels}) group_left sum by ({labels}) ({one})",
                    self.vector(depth)
                )
            }
            _ => {
                let many = self.vector(depth);
                let one = self.operand(operator, depth);
                format!("sum by (job, zone) ({many}) {operator} on (zone) group_left sum by (zone) ({one})")
            }
        }
    }

    /// The right side of an operator. A great exponent makes much of the last bits of its base, and those depend on the
    /// order of additions.
    fn operand(&mut self, operator: &str, depth: u32) -> String {
        let vector = self.vector(depth);
        if operator == "^" { format!("clamp({vector}, -9, 9)") } else { vector }
    }

    fn labelled(&mut self, depth: u32) -> String {
        let inner = self.vector(depth);
        match self.random.random_range(0..3) {
            0 => format!("label_replace({inner}, \"x\", \"$1-$2\", \"job\", \"(.)(.*)\")"),
            1 => format!("label_replace({inner}, \"zone\", \"\", \"zone\", \"a\")"),
            _ => format!("label_join({inner}, \"j\", \"/\", \"zone\", \"job\", \"__name__\")"),
        }
    }

    fn histogram(&mut self, depth: u32) -> String {
        let buckets = match self.random.random_range(0..3) {
            0 => "h_bucket".to_owned(),
            1 => "sum by (le, job) (rate(h_bucket[5m]))".to_owned(),
            _ => self.vector(depth),
        };
        if self.one_in(3) && !self.vocabulary.for_version_2 {
            return format!("histogram_fraction(0.1, {}, {buckets})", self.pick(&["0.3", "2", "Inf"]));
        }
        format!("histogram_quantile({}, {buckets})", self.small())
    }

    fn instant(&mut self, depth: u32) -> String {
        let inner = self.vector(depth);
        match self.random.random_range(0..9) {
            0 => format!("clamp({inner}, {}, {})", self.small(), self.pick(&["3", "5", "-4"])),
            1 => format!(
                "{}({inner}, {})",
                self.pick(&["clamp_min", "clamp_max", "round"]),
                self.pick(&["1", "0.5", "3"])
            ),
            2 => format!("timestamp({inner})"),
            3 => format!("absent({inner})"),
            4 => format!("-({inner})"),
            5 => format!(
                "{}({inner})",
                self.pick(&[
                    "minute",
                    "hour",
                    "day_of_week",
                    "month",
                    "year",
                    "days_in_month",
                    "day_of_year"
                ])
            ),
            6 => format!("{}({inner})", self.pick(&["sort", "sort_desc"])),
            // The sine of a great number is made of its last bits, and those depend on the order of additions.
            7 if self.one_in(4) => format!("{}(clamp({inner}, -99, 99))", self.pick(&["sin", "cos"])),
            _ => format!(
                "{}({inner})",
                self.pick(&[
                    "abs", "ceil", "floor", "exp", "ln", "sqrt", "sgn", "log2", "log10", "atan", "tanh",
                    "rad", "deg", "round"
                ])
            ),
        }
    }
}

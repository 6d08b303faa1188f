//! Mixed queries over HTTP, in front of an upstream that answers as the test tells it to: what it is asked, what becomes
//! of deadlines and of clients that leave, and what the parameters do.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use emac::series::StepGrid;
use emac::unit::Timestamp;
use emac::upstream::{Answer, Body, Upstream, UpstreamError, whole_body};
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};

use crate::http_client::{get, send};
use crate::prometheus::{escape, wait_for};
use crate::served::{Options, Served, journeys};

/// A multiple of the evaluation interval.
pub(crate) const NOW: i64 = 1_700_000_010;

pub(crate) const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {target: 0.75, window: 30d}
  windows: [5m]
  components:
    front: {telemetry: {histogram: http_request_duration_seconds, matchers: {service: front}}}
    pay: {telemetry: {histogram: http_request_duration_seconds, matchers: {service: pay}}}
  expression: Series(front, pay)
";

/// 0.75 at every time.
const OURS: &str = "emac_journey_objective_availability";

type Form = BTreeMap<String, String>;

/// What a query is answered with; none: nothing, ever.
type Answering = dyn Fn(&str, &Form) -> Option<(u16, Json)> + Send + Sync;

/// Answers queries as told, and remembers them.
struct Told {
    answering: Box<Answering>,
    asked: Mutex<Vec<(String, Form)>>,
    /// How many requests are under way.
    waiting: Arc<AtomicUsize>,
    most_at_once: AtomicUsize,
    /// Answers only when so many were asked.
    gathers: usize,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Upstream for Told {
    fn name(&self) -> &str {
        "http://told:9090"
    }

    fn tenant(&self) -> Option<&str> {
        Some("team-a")
    }

    fn instant(&self, _: &str, _: Timestamp, _: Instant) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        Box::pin(async { Ok(Answer::default()) })
    }

    fn range(&self, _: &str, _: StepGrid, _: Instant) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        Box::pin(async { Ok(Answer::default()) })
    }

    fn forward(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, UpstreamError>> {
        Box::pin(async move {
            if !request.uri().path().starts_with("/api/v1/query") {
                // What the server asks on its own account, such as the upstream's configuration.
                let body = whole_body(Bytes::new());
                return Ok(http::Response::builder().status(404).body(body).unwrap());
            }
            let at_once = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            let _waiting = Waiting(Arc::clone(&self.waiting));
            self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let url = head.uri.query().unwrap_or_default().as_bytes();
            let pairs = form_urlencoded::parse(&body).chain(form_urlencoded::parse(url));
            let form: Form = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            let path = head.uri.path().to_owned();
            let answer = (self.answering)(&path, &form);
            self.asked.lock().unwrap().push((path, form));
            while self.asked.lock().unwrap().len() < self.gathers {
                tokio::task::yield_now().await;
            }
            let Some((status, json)) = answer else { return std::future::pending().await };
            let body = whole_body(json.to_string());
            Ok(http::Response::builder().status(status).body(body).unwrap())
        })
    }
}

fn serve(
    gathers: usize,
    answering: impl Fn(&str, &Form) -> Option<(u16, Json)> + Send + Sync + 'static,
    options: Options,
) -> (Served, Arc<Told>) {
    let told = Arc::new(Told {
        answering: Box::new(answering),
        asked: Mutex::default(),
        waiting: Arc::default(),
        most_at_once: AtomicUsize::default(),
        gathers,
    });
    let upstream = Arc::clone(&told);
    let served =
        Served::start(move || upstream, journeys(SPEC), Timestamp::from_millis(NOW * 1_000), options);
    served.evaluate_at(Timestamp::from_millis((NOW + 5) * 1_000));
    (served, told)
}

/// A vector of one series.
fn vector(value: f64) -> Option<(u16, Json)> {
    let result = json!([{"metric": {"job": "a"}, "value": [NOW, value.to_string()]}]);
    Some((200, json!({"status": "success", "data": {"resultType": "vector", "result": result}})))
}

fn query(served: &Served, text: &str, more: &str) -> (u16, Json) {
    let reply = get(&served.url, &format!("/api/v1/query?query={}&time={NOW}{more}", escape(text)));
    (reply.status, reply.json())
}

fn values(answer: &Json) -> Vec<&str> {
    let result = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    result.iter().map(|series| series["value"][1].as_str().unwrap()).collect()
}

#[test]
fn the_upstream_is_asked_for_everything_at_once_and_for_nothing_twice() {
    // It answers no request before it has all three.
    let (served, told) =
        serve(3, |_, form| vector(if form["query"] == "a" { 8.0 } else { 2.0 }), Options::default());
    let (status, answer) = query(&served, &format!("({OURS} * on() a - on() b) / on() a + on() (b > c)"), "");
    assert_eq!(status, 200, "{answer}");
    let asked = told.asked.lock().unwrap().clone();
    let texts: Vec<&str> = asked.iter().map(|(_, form)| form["query"].as_str()).collect();
    assert_eq!(texts, ["a", "b", "b > c"]);
    assert_eq!(told.most_at_once.load(Ordering::SeqCst), 3);
    for (path, form) in &asked {
        assert_eq!((path.as_str(), form["time"].as_str()), ("/api/v1/query", "1700000010"));
        let timeout: f64 = form["timeout"].parse().unwrap();
        assert!(timeout > 0.0 && timeout <= 10.0, "{timeout}");
    }
}

#[test]
fn a_join_of_both_is_computed_and_a_range_is_asked_for_on_its_own_grid() {
    let answering = |path: &str, form: &Form| {
        if path == "/api/v1/query" {
            return vector(4.0);
        }
        assert_eq!(
            (form["start"].as_str(), form["end"].as_str(), form["step"].as_str()),
            ("1700000003.500", "1700000013.600", "5")
        );
        // No value at the second step.
        let values = json!([[1_700_000_003.5, "2"], [1_700_000_013.5, "4"]]);
        let result = json!([{"metric": {}, "values": values}]);
        Some((200, json!({"status": "success", "data": {"resultType": "matrix", "result": result}})))
    };
    let (served, _) = serve(0, answering, Options::default());
    assert_eq!(values(&query(&served, &format!("{OURS} * on() group_left() sum(up)"), "").1), ["3"]);
    let text = escape(&format!("{OURS} * on() group_left() sum(up)"));
    let target = format!("/api/v1/query_range?query={text}&start=1700000003.5&end=1700000013.6&step=5");
    let answer = get(&served.url, &target).json();
    assert_eq!(
        answer["data"]["result"][0]["values"],
        json!([[1_700_000_003.5, "1.5"], [1_700_000_013.5, "3"]]),
        "{answer}"
    );
}

#[test]
fn a_client_that_leaves_ends_the_upstream_s_work() {
    let (served, told) = serve(0, |_, _| None, Options::default());
    let address = served.url.strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let target = format!("/api/v1/query?query={}&time={NOW}", escape(&format!("{OURS} + on() up")));
    write!(client, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    wait_for("the upstream to be asked", || (told.waiting.load(Ordering::SeqCst) == 1).then_some(()));
    drop(client);
    let left = Instant::now();
    wait_for("the request to end", || (told.waiting.load(Ordering::SeqCst) == 0).then_some(()));
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
}

#[test]
fn a_timeout_ends_a_query_whose_upstream_hangs() {
    let (served, told) = serve(0, |_, _| None, Options::default());
    let begun = Instant::now();
    let (status, answer) = query(&served, &format!("{OURS} + on() up"), "&timeout=300ms");
    assert_eq!((status, answer["errorType"].as_str()), (503, Some("timeout")), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let told_timeout: f64 = told.asked.lock().unwrap()[0].1["timeout"].parse().unwrap();
    assert!(told_timeout <= 0.3, "{told_timeout}");
    wait_for("the request to end", || (told.waiting.load(Ordering::SeqCst) == 0).then_some(()));
    for (bad, status) in
        [("timeout=x", 400), ("lookback_delta=-5s", 400), ("lookback_delta=x", 400), ("limit=-1", 400)]
    {
        assert_eq!(query(&served, OURS, &format!("&{bad}")).0, status, "{bad}");
    }
}

#[test]
fn a_lookback_is_used_here_and_told_to_the_upstream() {
    let (served, told) = serve(0, |_, _| vector(4.0), Options::default());
    // The only sample is at 1,700,000,010.
    let at = |time: i64, lookback: &str| {
        let text = escape(&format!("{OURS} * on() up"));
        let target = format!("/api/v1/query?query={text}&time={time}{lookback}");
        get(&served.url, &target).json()
    };
    served.clock.store((NOW + 5) * 1_000, Ordering::SeqCst);
    assert_eq!(values(&at(NOW + 10, "")), ["3"]);
    assert!(!told.asked.lock().unwrap()[0].1.contains_key("lookback_delta"));
    assert_eq!(values(&at(NOW + 10, "&lookback_delta=8s")), [""; 0]);
    assert_eq!(values(&at(NOW + 10, "&lookback_delta=11.5")), ["3"]);
    assert_eq!(told.asked.lock().unwrap()[2].1["lookback_delta"], "11.500");
}

#[test]
fn a_limit_cuts_the_joined_answer_and_says_so() {
    let (served, _) = serve(0, |_, _| vector(4.0), Options::default());
    let (_, answer) = query(&served, &format!("up or {OURS}"), "&limit=1");
    assert_eq!(values(&answer).len(), 1);
    assert_eq!(answer["warnings"], json!(["results truncated due to limit"]));
    let (_, answer) = query(&served, &format!("up or {OURS}"), "&limit=2");
    assert_eq!((values(&answer).len(), answer.get("warnings")), (2, None));
}

#[test]
fn notes_of_the_upstream_point_into_the_client_s_text() {
    let noted = |_: &str, form: &Form| {
        assert_eq!(form["query"], "quantile(3, rate(x[5m]))");
        let (status, mut answer) = vector(4.0)?;
        answer["warnings"] =
            json!(["PromQL warning: quantile value should be between 0 and 1, got 3 (1:10)"]);
        answer["infos"] = json!(["PromQL info: metric might not be a counter (1:18)"]);
        Some((status, answer))
    };
    let (served, _) = serve(0, noted, Options::default());
    let (_, answer) = query(&served, &format!("{OURS} * on()\n  quantile((3), rate(x[5m]))"), "");
    assert_eq!(
        answer["warnings"],
        json!(["PromQL warning: quantile value should be between 0 and 1, got 3 (2:13)"])
    );
    assert_eq!(answer["infos"], json!(["PromQL info: metric might not be a counter (2:22)"]));
}

#[test]
fn what_the_upstream_cannot_answer_is_never_an_empty_result() {
    for (status, body, expected, words) in [
        (
            422,
            json!({"status": "error", "errorType": "execution", "error": "too many samples"}),
            422,
            "too many samples",
        ),
        (503, json!({"status": "error", "errorType": "timeout", "error": "slow"}), 422, "answered 503"),
        (204, Json::Null, 422, "status 204"),
        (
            200,
            json!({"status": "success", "data": {"resultType": "matrix", "result": []}}),
            422,
            "is a matrix",
        ),
        (
            200,
            json!({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}),
            422,
            "scalar",
        ),
        (200, json!([]), 422, "unusable answer"),
        (
            200,
            json!({"status": "success", "data": {"resultType": "vector", "result": [
                {"metric": {"a": "b"}, "value": [1, "2"]}, {"metric": {"a": "b"}, "value": [1, "3"]}]}}),
            422,
            "stands in it twice",
        ),
    ] {
        let (served, _) = serve(0, move |_, _| Some((status, body.clone())), Options::default());
        let (found, answer) = query(&served, &format!("{OURS} + on() up"), "");
        assert_eq!(found, expected, "{answer}");
        let said = answer["error"].as_str().unwrap();
        assert!(said.contains(words) && said.contains("told:9090"), "{said}");
    }
}

#[test]
fn the_client_s_own_credentials_go_with_what_is_pushed_down() {
    let (served, told) = serve(0, |_, _| vector(4.0), Options::default());
    let target = format!("/api/v1/query?query={}&time={NOW}", escape(&format!("{OURS} + on() up")));
    let reply =
        send(&served.url, "GET", &target, &[("Accept-Encoding", "gzip"), ("X-Scope-OrgID", "team-a")], b"");
    assert_eq!(reply.status, 200);
    assert_eq!(told.asked.lock().unwrap().len(), 1);
}

#[test]
fn the_plan_of_a_query_can_be_read() {
    let (served, told) = serve(0, |_, _| vector(4.0), Options::default());
    let explain = |more: &str, text: &str| {
        get(&served.url, &format!("/api/v1/explain_query?query={}{more}", escape(text)))
    };
    let plan = explain("&start=0&end=600&step=60", &format!("{OURS} / on() sum(rate(x[5m]))"));
    assert_eq!(plan.status, 200);
    assert!(
        plan.text().contains("$0      sum(rate(x[5m]))\n          instant vector, from 0 to 600"),
        "{}",
        plan.text()
    );
    assert!(
        plan.text().contains("here      emac_journey_objective_availability / on () $0\n"),
        "{}",
        plan.text()
    );
    assert!(explain("&time=5", "up").text().contains("as it is"), "{}", explain("&time=5", "up").text());
    assert_eq!(explain("", "emac_journey_gate{").status, 400);
    assert_eq!(told.asked.lock().unwrap().len(), 0, "planning asks for nothing");
}

#[test]
fn what_only_the_upstream_can_evaluate_is_left_to_it() {
    let (served, told) = serve(0, |_, _| vector(4.0), Options::default());
    let (status, answer) = query(&served, &format!("{OURS} * on() group_left() start_timestamp(x)"), "");
    assert_eq!((status, values(&answer)), (200, vec!["3"]), "{answer}");
    assert_eq!(told.asked.lock().unwrap()[0].1["query"], "start_timestamp(x)");
    let (status, answer) = query(&served, &format!("start_timestamp({OURS}) + on() up"), "");
    assert_eq!((status, answer["errorType"].as_str()), (422, Some("execution")), "{answer}");
    let said = answer["error"].as_str().unwrap();
    assert_eq!(said, "start_timestamp() is not supported over synthetic series");
    assert_eq!(told.asked.lock().unwrap().len(), 1, "nothing was fetched in vain");
}

#[test]
fn a_range_modifier_is_refused_beside_synthetic_series_and_passed_on_without_them() {
    let (served, told) = serve(0, |_, _| vector(4.0), Options::default());
    let modified = "sum(rate(x[5m] smoothed))";
    let (status, answer) = query(&served, &format!("{OURS} * on() group_left() {modified}"), "");
    assert_eq!((status, answer["errorType"].as_str()), (400, Some("bad_data")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("range modifier \"smoothed\""), "{answer}");
    assert_eq!(told.asked.lock().unwrap().len(), 0);
    assert_eq!(values(&query(&served, modified, "").1), ["4"]);
    assert_eq!(told.asked.lock().unwrap()[0].1["query"], modified);
    // A side without a partner is filled here or there, as long as the parser knows how.
    let filled = format!("{OURS} + on(job) fill_right(1) up");
    assert_eq!(values(&query(&served, &filled, "").1), ["1.75"]);
}

#[test]
fn without_push_down_only_selectors_are_asked_for() {
    let options = Options { pushdown: Some(false), ..Options::default() };
    let (served, told) = serve(
        0,
        |_, form| {
            if form["query"].ends_with(']') {
                let values = json!([[NOW - 60, "10"], [NOW - 30, "40"], [NOW, "70"]]);
                let result = json!([{"metric": {"__name__": "c_total"}, "values": values}]);
                return Some((
                    200,
                    json!({"status": "success", "data": {"resultType": "matrix", "result": result}}),
                ));
            }
            vector(4.0)
        },
        options,
    );
    let (_, answer) = query(&served, "sum(up) * 2 + sum(increase(c_total[1m] offset 30s))", "");
    // A minute that ends 30 s ago holds 10 and 40, and is extrapolated to its edges.
    assert_eq!(values(&answer).len(), 1, "{answer}");
    let asked: Vec<String> =
        told.asked.lock().unwrap().iter().map(|(_, form)| form["query"].clone()).collect();
    assert_eq!(asked, ["up", "c_total[1m]"]);
    assert_eq!(
        query(&served, "1 + 1", "").1["data"]["result"][0]["value"][1],
        "4",
        "without a selector it is passed on"
    );
}

#[test]
fn hostile_mixtures_get_their_answer_at_once() {
    let (served, _) = serve(0, |_, _| vector(4.0), Options::default());
    for (text, expected) in [
        (format!("{}({OURS} + on() up)", "-".repeat(250)), 200),
        (format!("{}{OURS} + on() up{}", "abs(".repeat(60), ")".repeat(60)), 200),
        (format!("{OURS}{}", " or up".repeat(250)), 200),
        (format!("{OURS}{}", " or up".repeat(300)), 400),
        (format!("{}{OURS} + on() up{}", "abs(".repeat(70), ")".repeat(70)), 400),
        (format!("sum_over_time(({OURS} + on() up)[1y:1ms])"), 422),
        (format!("sum_over_time(sum_over_time(({OURS} + on() up)[1d:1s])[1d:1s])"), 422),
        (format!("{OURS} + up{{a=~\"{}\"}}", "(a*)*".repeat(1_000)), 400),
    ] {
        let begun = Instant::now();
        let (status, answer) = query(&served, &text, "");
        assert_eq!(status, expected, "{}: {answer}", &text[..60]);
        assert!(begun.elapsed() < Duration::from_secs(3), "{}: {:?}", &text[..60], begun.elapsed());
    }
}

#[test]
fn a_subquery_with_more_steps_than_an_upstream_answers_is_asked_for_in_pieces() {
    let answering = |_: &str, form: &Form| {
        let number = |name: &str| form[name].parse::<f64>().unwrap();
        let points = ((number("end") - number("start")) / number("step")).floor() + 1.0;
        assert!(points <= 11_001.0, "{form:?}");
        let values = json!([[number("start"), "1"], [number("start") + number("step"), "1"]]);
        let result = json!([{"metric": {}, "values": values}]);
        Some((200, json!({"status": "success", "data": {"resultType": "matrix", "result": result}})))
    };
    let (served, told) = serve(0, answering, Options::default());
    // At every piece's first two steps.
    let text =
        format!("count_over_time((vector(1) and on() up unless on() {OURS}{{journey=\"none\"}})[4h:1s])");
    let (status, answer) = query(&served, &text, "");
    assert_eq!((status, values(&answer)), (200, vec!["4"]), "{answer}");
    let asked = told.asked.lock().unwrap();
    let spans: Vec<(&str, &str)> = asked.iter().map(|(_, form)| (&*form["start"], &*form["end"])).collect();
    assert_eq!(spans, [("1699985611", "1699996611"), ("1699996612", "1700000010")]);
}

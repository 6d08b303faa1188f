//! What an upstream answers: JSON that is read as evidence and as the parts of a query.

#[path = "../../fuzz/src/answers.rs"]
mod target;

use super::{Length, run};

const WORDS: [&str; 24] = [
    r#"{"status":"success","data":"#,
    r#""resultType":"matrix","#,
    r#""resultType":"vector","#,
    r#""resultType":"scalar","#,
    r#""result":["#,
    r#"{"metric":{"__name__":"a"},"values":["#,
    r#"[1,"2"],"#,
    r#"[1e300,"NaN"]"#,
    r#"[-1.5,"+Inf"]"#,
    r#""histogram":[1,{"count":"1","sum":"2","buckets":[[0,"1","2","3"]]}]"#,
    r#""histograms":["#,
    r#""warnings":["a"],"#,
    r#""infos":null,"#,
    r#""error":"x","errorType":"y","#,
    r#""le":"0.1""#,
    r#""\u0000""#,
    r#""\ud800""#,
    "null",
    "{}",
    "[]",
    "[[",
    "]]",
    "\\",
    ",",
];

#[test]
fn a_mutated_answer_of_an_upstream_is_read_or_refused() {
    run("answers", Length::Short, &target::seeds(), &WORDS, target::read);
}

#[test]
#[ignore = "long: a minute, or EMAC_FUZZ_SECONDS"]
fn many_mutated_answers_of_an_upstream_are_read_or_refused() {
    run("answers", Length::Long, &target::seeds(), &WORDS, target::read);
}

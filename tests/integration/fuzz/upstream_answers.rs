//! What an upstream answers: JSON that is read as evidence and as the parts of a query.

use emac::wire::prometheus_json::{QueryData, decode};

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

fn corpus() -> Vec<Vec<u8>> {
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"le":"0.1","service":"a"},"value":[1700000000.123,"17.5"]},{"metric":{"le":"+Inf","service":"a"},"value":[1700000000.123,"+Inf"]}]},"warnings":["a store is missing"]}"#;
    let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"a"},"values":[[1,"1"],[2.5,"NaN"],[3,"-Inf"]]}],"stats":{"timings":{"evalTotalTime":0.1}}},"infos":[]}"#;
    let native = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"service":"a"},"histogram":[1700000000,{"count":"3","sum":"1.5","buckets":[[3,"-0.001","0.001","1"],[0,"0.5","1","2"]]}]}]}}"#;
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#;
    let string = r#"{"status":"success","data":{"resultType":"string","result":[1,"a\"b\\c"]}}"#;
    let error = r#"{"status":"error","errorType":"execution","error":"too much"}"#;
    [vector, matrix, native, scalar, string, error].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn read(bytes: &[u8]) -> bool {
    let evidence = decode::evidence(bytes);
    let query = decode::query(bytes);
    let _ = decode::error_message(bytes);
    for answer in [&evidence, &query].into_iter().flatten() {
        let (QueryData::Vector(series) | QueryData::Matrix(series)) = &answer.data else { continue };
        for one in series {
            assert!(one.samples.windows(2).all(|pair| pair[0].time < pair[1].time), "times must rise");
            assert!(
                one.labels
                    .iter()
                    .all(|(name, value)| { name.len().max(value.len()) <= decode::MAX_STRING_BYTES })
            );
        }
    }
    evidence.is_ok() || query.is_ok()
}

#[test]
fn a_mutated_answer_of_an_upstream_is_read_or_refused() {
    run("answers", Length::Short, &corpus(), &WORDS, read);
}

#[test]
#[ignore = "long: a minute, or EMAC_FUZZ_SECONDS"]
fn many_mutated_answers_of_an_upstream_are_read_or_refused() {
    run("answers", Length::Long, &corpus(), &WORDS, read);
}

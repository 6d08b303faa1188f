//! What an upstream answers: JSON that is read as evidence and as the parts of a query.

use emac::wire::prometheus_json::{QueryData, decode};

/// Valid ones.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"le":"0.1","service":"a"},"value":[1700000000.123,"17.5"]},{"metric":{"le":"+Inf","service":"a"},"value":[1700000000.123,"+Inf"]}]},"warnings":["a store is missing"]}"#;
    let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"a"},"values":[[1,"1"],[2.5,"NaN"],[3,"-Inf"]]}],"stats":{"timings":{"evalTotalTime":0.1}}},"infos":[]}"#;
    let native = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"service":"a"},"histogram":[1700000000,{"count":"3","sum":"1.5","buckets":[[3,"-0.001","0.001","1"],[0,"0.5","1","2"]]}]}]}}"#;
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#;
    let string = r#"{"status":"success","data":{"resultType":"string","result":[1,"a\"b\\c"]}}"#;
    let error = r#"{"status":"error","errorType":"execution","error":"too much"}"#;
    [vector, matrix, native, scalar, string, error].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Reads bytes as an answer; whether they are one.
pub(crate) fn read(bytes: &[u8]) -> bool {
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

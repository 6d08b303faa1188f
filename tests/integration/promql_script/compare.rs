//! Two answers to the same expression, and where they part.

use std::collections::BTreeMap;

use emac::series::Series;

/// Values by series and time in milliseconds.
pub(crate) type Points = BTreeMap<String, Vec<(i64, f64)>>;

/// How far values may lie apart, relative to the greater.
const TOLERANCE: f64 = 1e-12;

/// The samples of series.
pub(crate) fn points_of(series: impl IntoIterator<Item = Series>) -> Points {
    let of_series = |series: Series| {
        let points = series.samples.iter().map(|sample| (sample.time.millis(), sample.value));
        (series.labels.to_string(), points.collect())
    };
    series.into_iter().map(of_series).collect()
}

/// Where two answers part, if they do. `noise`: how far values near 0 may lie apart, since sums follow the order of a
/// storage, so that what should be 0 is noise on either side.
pub(crate) fn difference(ours: &Points, theirs: &Points, noise: f64) -> Option<String> {
    if !ours.keys().eq(theirs.keys()) {
        return Some(format!("series {:?}, not {:?}", ours.keys(), theirs.keys()));
    }
    for (labels, points) in ours {
        let expected = &theirs[labels];
        let times = |points: &[(i64, f64)]| points.iter().map(|point| point.0).collect::<Vec<_>>();
        if times(points) != times(expected) {
            return Some(format!("{labels} at {:?}, not at {:?}", times(points), times(expected)));
        }
        for ((time, a), (_, b)) in points.iter().zip(expected) {
            let close = (a - b).abs() <= (TOLERANCE * a.abs().max(b.abs())).max(noise);
            if !(close || a == b || a.is_nan() && b.is_nan()) {
                return Some(format!("{labels} at {time}: {a}, not {b}"));
            }
        }
    }
    None
}

//! Evidence files: what telemetry would have said, written down.

use super::load::{Kind, kind};
use super::scalar::{
    ComponentName, Counted, Edge, Fraction, Growth, JourneyOrVariant, ParameterName, WindowText,
};
use super::word::{ApiVersion, EvidenceKind, Unit};
use crate::distribution::confidence::DesignEffect;
use crate::distribution::histogram::ClassicHistogram;
use crate::document::SourceFile;
use crate::document::decode::{At, Decode as _, Decoder, Placed, Table, record};
use crate::document::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::document::parse::parse;
use crate::document::rule::Rule;
use crate::document::tree::Document;
use crate::journey::Journey;
use crate::journey::component::LatencyUnit;
use crate::journey::evidence::{ComponentEvidence, Counts, DesignEffects, Evidence, Measurement, Reason};
use crate::journey::variant::labels_of;
use crate::unit::Probability;

record! {
    /// Evidence of a journey over one window.
    EvidenceFile (
        /// The version of the language.
        required At<ApiVersion> = "apiVersion",
        /// What the document is.
        required At<EvidenceKind> = "kind",
    ) {
        /// Whose evidence it is.
        required metadata: EvidenceMetadata = "metadata",
        /// What was measured.
        required spec: EvidenceSpec = "spec",
    }

    /// Whose evidence it is.
    EvidenceMetadata {
        /// The journey, or `journey@variant` for what a variant of it sees.
        required journey: At<JourneyOrVariant> = "journey",
    }

    /// What was measured.
    EvidenceSpec {
        /// What was summed over.
        required window: At<WindowText> = "window",
        /// What was measured of each component; one that is not named counts as unknown.
        required components: Table<ComponentName, Measured> = "components",
        /// Probabilities measured.
        optional parameters: Table<ParameterName, At<Fraction>> = "parameters",
    }

    /// Counted calls, or an availability without counts.
    Measured [
        Rule::ExactlyOne(&["total", "availability"]), Rule::Needs("total", "good"),
        Rule::AtMostOne(&["availability", "good"]), Rule::AtMostOne(&["availability", "latency"]),
        Rule::AtMostOne(&["availability", "failureLatency"]), Rule::AtMostOne(&["availability", "designEffect"])
    ] {
        /// All calls.
        optional total: At<Counted> = "total",
        /// Successful calls.
        optional good: At<Counted> = "good",
        /// Latency of the successes.
        optional latency: Placed<Buckets> = "latency",
        /// Latency of the failures.
        optional failure_latency: Placed<Buckets> = "failureLatency",
        /// How much bursts take from the worth of the calls; one that is not named is not known.
        optional design_effect: Placed<Bursts> = "designEffect",
        /// The share of successes, without sampling error.
        optional availability: At<Fraction> = "availability",
    }

    /// By how much the variance of a share exceeds that of as many independent calls.
    Bursts {
        /// Of the failures.
        optional failures: At<Growth> = "failures",
        /// Of the slow successes.
        optional latency: At<Growth> = "latency",
    }

    /// A classic histogram.
    Buckets {
        /// The unit of the edges, seconds by default.
        optional unit: At<Unit> = "unit",
        /// Cumulative counts by upper edge, with +Inf.
        required buckets: Table<Edge, At<Counted>> = "buckets",
    }
}

/// Reads the evidence of `journey`. Several documents, or one of another journey, are faults.
#[must_use]
pub fn load_evidence(journey: &Journey, file: &SourceFile) -> (Option<Evidence>, Vec<Diagnostic>) {
    let (documents, mut diagnostics) = parse(file);
    let mut evidence = None;
    let mut found = 0;
    for document in &documents {
        match kind(document) {
            Kind::Evidence => {
                found += 1;
                let (read, faults) = read(file, document, journey);
                evidence = read;
                diagnostics.extend(faults);
            }
            Kind::Empty => {}
            _ => {
                let node = document.node(document.root());
                diagnostics.push(Diagnostic {
                    line: node.line,
                    column: node.column,
                    ..Diagnostic::of_file(
                        Code::UnknownKind,
                        &file.path,
                        "found another kind of document; allowed: `kind: Evidence` with `apiVersion: emac.dev/v1alpha1`",
                        None,
                    )
                });
            }
        }
    }
    if found != 1 && diagnostics.is_empty() {
        let message = format!("found {found} documents of evidence; allowed: one");
        diagnostics.push(Diagnostic::of_file(Code::ItemCount, &file.path, message, None));
    }
    let faulty = diagnostics.iter().any(|diagnostic| diagnostic.severity == super::Severity::Error);
    (evidence.filter(|_| !faulty), diagnostics)
}

/// Checks an evidence document against its journey, where that is known.
pub(crate) fn check(file: &SourceFile, document: &Document, journeys: &[Journey]) -> Vec<Diagnostic> {
    let name = document
        .get(document.root(), "metadata")
        .and_then(|metadata| document.get(metadata, "journey"))
        .and_then(|journey| document.text(journey));
    let whole = name.map(|name| labels_of(name).0);
    let journey = journeys.iter().find(|journey| Some(journey.name.as_str()) == whole);
    if let Some(journey) = journey
        && let Some(seen) =
            journey.clone().with_variants().into_iter().find(|j| Some(j.name.as_str()) == name)
    {
        return read(file, document, &seen).1;
    }
    let mut decoder = Decoder::new(file, document);
    let _ = EvidenceFile::decode(document.root(), &mut decoder);
    let message = format!("evidence of `{}`, which is not among the journeys", name.unwrap_or_default());
    let help = name.and_then(|name| did_you_mean(name, journeys.iter().map(|journey| journey.name.as_str())));
    decoder.report(Code::UnresolvedReference, document.root(), message, help);
    decoder.finish()
}

fn read(file: &SourceFile, document: &Document, journey: &Journey) -> (Option<Evidence>, Vec<Diagnostic>) {
    let mut decoder = Decoder::new(file, document);
    let evidence = EvidenceFile::decode(document.root(), &mut decoder)
        .and_then(|record| lower(&record, journey, &mut decoder));
    let sound = decoder.errors() == 0;
    (evidence.filter(|_| sound), decoder.finish())
}

fn lower(record: &EvidenceFile, journey: &Journey, decoder: &mut Decoder<'_>) -> Option<Evidence> {
    if let Some(name) = record.metadata.as_ref().and_then(|metadata| metadata.journey.as_ref())
        && name.value.0 != journey.name
    {
        let message = format!("this is evidence of `{}`; allowed: `{}`", name.value.0, journey.name);
        decoder.report(Code::EvidenceOfOther, name.at, message, None);
    }
    let spec = record.spec.as_ref()?;
    let mut components = vec![ComponentEvidence::vacuous(Reason::Absent); journey.components.len()];
    for (name, measured) in spec.components.as_ref().map(|table| table.0.as_slice()).unwrap_or_default() {
        let Some(id) = journey.components.iter().position(|component| component.name == name.value.0) else {
            let known = journey.components.iter().map(|component| component.name.as_str());
            let message = format!(
                "the journey `{}` has no component `{}`; allowed: {}",
                journey.name,
                name.value.0,
                known.clone().take(20).collect::<Vec<_>>().join(", ")
            );
            decoder.report(Code::UnknownComponent, name.at, message, did_you_mean(&name.value.0, known));
            continue;
        };
        if let Some(evidence) = measured.as_ref().and_then(|measured| component(measured, decoder)) {
            components[id] = evidence;
        }
    }
    let mut parameters = vec![None; journey.parameters.len()];
    for (name, value) in spec.parameters.as_ref().map(|table| table.0.as_slice()).unwrap_or_default() {
        match journey.parameters.iter().position(|parameter| parameter.name == name.value.0) {
            Some(id) => parameters[id] = value.as_ref().map(|value| value.value.0),
            None => {
                let known = journey.parameters.iter().map(|parameter| parameter.name.as_str());
                let message = format!("the journey `{}` has no parameter `{}`", journey.name, name.value.0);
                decoder.report(Code::UnknownParameter, name.at, message, did_you_mean(&name.value.0, known));
            }
        }
    }
    // What the file does not say, the spec may.
    for (parameter, declared) in parameters.iter_mut().zip(&journey.parameters) {
        *parameter = parameter.or(declared.value);
    }
    let window = spec.window.as_ref()?.value.0;
    Some(Evidence { window, time: None, components, parameters })
}

fn component(measured: &Measured, decoder: &mut Decoder<'_>) -> Option<ComponentEvidence> {
    if let Some(availability) = &measured.availability {
        let figure = Probability::new(availability.value.0).ok()?;
        return Some(ComponentEvidence::measured(Measurement::Figure(figure)));
    }
    let (total, good) = (measured.total.as_ref()?, measured.good.as_ref()?);
    let latency = measured.latency.as_ref().and_then(|buckets| histogram(buckets, decoder));
    let failure_latency = measured.failure_latency.as_ref().and_then(|buckets| histogram(buckets, decoder));
    if total.value.0 == 0.0 && good.value.0 == 0.0 {
        return Some(ComponentEvidence::vacuous(Reason::NoTraffic));
    }
    match Counts::new(total.value.0, good.value.0, latency, failure_latency) {
        Ok(mut counts) => {
            if let Some(Placed { record, .. }) = &measured.design_effect {
                let effect =
                    |factor: &Option<At<Growth>>| DesignEffect::new(factor.as_ref().map(|at| at.value.0)?);
                let (failures, latency) = (effect(&record.failures), effect(&record.latency));
                counts.set_design_effects(DesignEffects { failures, latency });
            }
            Some(ComponentEvidence::measured(Measurement::Counts(counts)))
        }
        Err(error) => {
            decoder.report(Code::Inconsistent, good.at, error.to_string(), None);
            None
        }
    }
}

fn histogram(buckets: &Placed<Buckets>, decoder: &mut Decoder<'_>) -> Option<ClassicHistogram> {
    let scale = buckets.record.unit.as_ref().map_or(LatencyUnit::Seconds, |unit| unit.value.0).in_seconds();
    let table = buckets.record.buckets.as_ref()?;
    let mut pairs: Vec<(f64, f64)> = Vec::with_capacity(table.0.len());
    for (edge, count) in &table.0 {
        pairs.push((edge.value.0 * scale, count.as_ref()?.value.0));
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, infinite)) = pairs.pop_if(|(edge, _)| edge.is_infinite()) else {
        let message = "the buckets lack `+Inf`, the count of all calls";
        decoder.report(Code::Inconsistent, buckets.at, message, None);
        return None;
    };
    let (edges, mut counts): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    counts.push(infinite);
    ClassicHistogram::new(edges, counts)
        .map_err(|error| decoder.report(Code::Inconsistent, buckets.at, error.to_string(), None))
        .ok()
}

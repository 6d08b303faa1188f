//! `emac what-if`: what a journey would be, were some of its components different.

use std::str::FromStr;

use anyhow::{anyhow, bail};
use clap::Args;

use super::Outcome;
use super::journey_evidence::{Format, JourneyEvidence, JourneyEvidenceArgs};
use crate::algebra::alternative::SLOWDOWNS;
use crate::algebra::compose::Composer;
use crate::derive::what_if::{Supposition, what_if};
use crate::journey::Journey;
use crate::journey::component::ComponentId;
use crate::unit::Probability;

/// Arguments of `emac what-if`.
#[derive(Debug, Args)]
pub struct WhatIfArgs {
    /// Which journey over which evidence.
    #[command(flatten)]
    pub of: JourneyEvidenceArgs,
    /// Of a component, the share of its calls that succeed, or how many times as long they take as now, such as
    /// `payment-api:availability=0.9995` and `payment-api:slowdown=0.8`; may be repeated
    #[arg(long, value_name = "COMPONENT:WHAT=VALUE")]
    pub suppose: Vec<Supposed>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// One `--suppose`.
#[derive(Debug, Clone, PartialEq)]
pub struct Supposed {
    component: String,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Availability(Probability),
    Slowdown(f64),
}

impl FromStr for Supposed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "it reads COMPONENT:availability=VALUE or COMPONENT:slowdown=VALUE";
        let (component, change) = text.rsplit_once(':').ok_or(form)?;
        let (name, value) = change.split_once('=').ok_or(form)?;
        let number: f64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        let what = match name {
            "availability" => {
                What::Availability(Probability::new(number).map_err(|error| error.to_string())?)
            }
            "slowdown" if SLOWDOWNS.contains(&number) => What::Slowdown(number),
            "slowdown" => {
                return Err(format!(
                    "a slowdown lies between {:e} and {:e}; 1 is as fast as now",
                    SLOWDOWNS.start(),
                    SLOWDOWNS.end()
                ));
            }
            _ => return Err(format!("`{name}` cannot be supposed: {form}")),
        };
        Ok(Self { component: component.to_owned(), what })
    }
}

/// Composes one journey over one window as it is and as it is supposed.
///
/// # Errors
/// Where a file cannot be read, the journey or a component does not exist, nothing was measured of a component, or the
/// upstream cannot be asked.
pub fn run(args: &WhatIfArgs) -> anyhow::Result<Outcome> {
    let Some(JourneyEvidence { journey, evidence, .. }) = args.of.read()? else {
        return Ok(Outcome::Faults);
    };
    let suppositions = suppositions(&journey, &args.suppose)?;
    let answer =
        what_if(&mut Composer::new(), &journey, &evidence, &suppositions).map_err(|(of, error)| {
            anyhow!("nothing else can be supposed of {}: {error}", journey.components[of.component.0].name)
        })?;
    args.format.print(&answer, || answer.text())?;
    Ok(Outcome::Done)
}

/// One for each component of which something is supposed, in the order in which they are first named.
fn suppositions(journey: &Journey, supposed: &[Supposed]) -> anyhow::Result<Vec<Supposition>> {
    let mut all: Vec<Supposition> = Vec::new();
    for Supposed { component, what } in supposed {
        let Some(at) = journey.components.iter().position(|known| known.name == *component) else {
            let names: Vec<&str> = journey.components.iter().map(|known| known.name.as_str()).collect();
            bail!("{} has no component `{component}`; it has {}", journey.name, names.join(", "));
        };
        let component = ComponentId(at);
        let place = all.iter().position(|known| known.component == component).unwrap_or_else(|| {
            all.push(Supposition { component, availability: None, slowdown: 1.0 });
            all.len() - 1
        });
        let known = &mut all[place];
        match *what {
            What::Availability(availability) if known.availability.is_none() => {
                known.availability = Some(availability);
            }
            What::Slowdown(slowdown) if known.slowdown == 1.0 => known.slowdown = slowdown,
            What::Availability(_) | What::Slowdown(_) => {
                bail!("--suppose says twice what {} is", journey.components[at].name);
            }
        }
    }
    Ok(all)
}

//! The frame of every page: head, header, footer. Nothing comes from another origin, and nothing runs.

use maud::{DOCTYPE, Markup, html};

/// Seconds after which a page loads itself again: one evaluation interval.
const REFRESH_SECONDS: u32 = 15;
/// Where the style sheet is served.
pub const STYLE_PATH: &str = "/journeys/-/page.css";
/// Where the icon is served.
pub const ICON_PATH: &str = "/journeys/-/icon.svg";

/// A whole document around `content`.
#[must_use]
pub fn document(title: &str, note: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH_SECONDS);
                title { (title) " · emac" }
                link rel="icon" type="image/svg+xml" href=(ICON_PATH);
                link rel="stylesheet" href=(STYLE_PATH);
            }
            body {
                a.skip href="#content" { "Skip to the journeys" }
                header.site {
                    a.brand href="/" { "emac" }
                    span.tagline { "bounded journey SLOs" }
                    span.clock { (note) }
                }
                main #content { (content) }
                footer.site {
                    span { "emac " (env!("CARGO_PKG_VERSION")) }
                    a href="/journeys/metrics" { "journey metrics" }
                    a href="/metrics" { "own metrics" }
                    a href="/api/v1/journeys" { "API" }
                    span { "loads itself again every " (REFRESH_SECONDS) " s" }
                }
            }
        }
    }
}

//! The answer of `metrics`, made beside the event loop.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::generation::Generation;
use crate::access::bans;
use crate::conf::typed::location::MetricsFormat;
use crate::metrics::prometheus;
use crate::metrics::window::Moment;

/// One page is made at a time: who asks too often waits, and holds no thread.
static TURN: Semaphore = Semaphore::const_new(1);

/// The page as it is now, with its media type; `None` if it could not be made.
pub async fn text(
    generation: &Arc<Generation>,
    format: MetricsFormat,
) -> Option<(&'static str, String)> {
    let _turn = TURN.acquire().await.ok()?;
    let generation = Arc::clone(generation);
    // With thousands of routes it takes longer than others may wait for their worker.
    let made = tokio::task::spawn_blocking(move || {
        let listed = generation.listed_peers();
        let certificates = generation.listed_certificates();
        let zones = generation.zones.listed();
        let bans = bans::bans().listed();
        let groups = generation.listed_groups();
        let caches = generation.listed_caches();
        let now = Moment::now();
        match format {
            MetricsFormat::Prometheus => {
                prometheus::text(&listed, groups, certificates, caches, zones, bans, now)
            }
            MetricsFormat::Json => {
                prometheus::json(&listed, groups, certificates, caches, zones, bans, now)
            }
        }
    });
    let media_type = match format {
        MetricsFormat::Prometheus => prometheus::CONTENT_TYPE,
        MetricsFormat::Json => "application/json",
    };
    Some((media_type, made.await.ok()?))
}

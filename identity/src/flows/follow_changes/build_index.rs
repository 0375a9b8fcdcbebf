//! Builds the index of the lookup digests under one pepper from the associations.
//!
//! Invariant: reads one page after another, so that no writer waits for a long transaction. What changes meanwhile is the
//! caller's concern.

use tokio::sync::mpsc;

use crate::domain::pepper::Slot;
use crate::memory::lookup_index::LookupIndex;
use crate::store::associations::found::{self, Found};
use crate::store::{AddressKey, Store, StoreError, associations};

/// Associations in one page of a build.
const PAGE: i64 = 2_000;
/// Pages that may wait for the build.
const PAGES_AHEAD: usize = 4;

/// Reads all associations, page by page, while the index is filled. `None` if it needs more than `limit` bytes.
pub(super) async fn build_index(store: Store, slot: Slot, limit: usize) -> Result<Option<LookupIndex>, StoreError> {
    let count = store.read(async |conn| associations::count(conn).await).await?;
    let (sender, mut pages) = mpsc::channel::<Vec<Found>>(PAGES_AHEAD);
    let filling = tokio::task::spawn_blocking(move || {
        let mut index = LookupIndex::with_capacity(usize::try_from(count).unwrap_or(0));
        while let Some(page) = pages.blocking_recv() {
            if !page.iter().all(|found| index.insert(found)) || index.bytes() > limit {
                return None;
            }
        }
        index.shrink();
        Some(index)
    });
    let mut after: AddressKey = (String::new(), String::new());
    let mut read: i64 = 0;
    loop {
        let from = after.clone();
        let (last, page) = store.read(async move |conn| found::list_page(conn, slot, &from, PAGE).await).await?;
        let Some(last) = last else { break };
        after = last;
        // The index has no more room.
        if sender.send(page).await.is_err() {
            break;
        }
        read += PAGE;
        if read % (500 * PAGE) == 0 {
            tracing::info!(read, of = count, "the index of lookups is being built");
        }
    }
    drop(sender);
    filling.await.map_err(|_| StoreError::Interrupted)
}

//! `mirror`: copies of a request for others to look at.
//!
//! A copy is made beside the request, which does not wait for it and is not changed by it. Invariant:
//! so many copies of a worker are on their way at most; what comes more is not copied.

use std::cell::Cell;
use std::rc::Rc;

use super::downstream::{ClientError, Downstream};
use super::generation::Local;
use super::request_body::RequestBody;
use super::subrequest;
use crate::conf::typed::access::Mirror;
use crate::conf::typed::log::Level;
use crate::http::exchange::Exchange;
use crate::http::temporary_file::TemporaryFile;

/// So many copies of one worker are on their way.
const MOST_COPIES: usize = 256;

thread_local! {
    static COPIES: Cell<usize> = const { Cell::new(0) };
}

/// One of them.
struct Copy;

impl Copy {
    fn take() -> Option<Self> {
        let count = COPIES.get();
        (count < MOST_COPIES).then(|| {
            COPIES.set(count + 1);
            Self
        })
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        COPIES.set(COPIES.get() - 1);
    }
}

/// Sends the copies on their way. The body is read first if they have it; the inner error is the
/// status to answer with.
pub async fn copy(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    mirror: &Mirror,
) -> Result<Result<(), u16>, ClientError> {
    if mirror.with_body {
        match RequestBody::prepare(exchange, downstream, true, |_| true).await? {
            Ok(body) => body.give_back(exchange),
            Err(status) => return Ok(Err(status)),
        }
    }
    for uri in &mirror.uris {
        let Some(taken) = Copy::take() else {
            local.log(
                exchange,
                Level::Warn,
                format_args!("a request is not mirrored: too many copies are on their way"),
            );
            break;
        };
        let mut copied = exchange.derive(uri, &exchange.args);
        copied.method = exchange.method;
        copied.head.method = exchange.head.method;
        if mirror.with_body {
            copied.body.clone_from(&exchange.body);
            copied.body_file = match exchange
                .body_file
                .as_mut()
                .map(|file| again(file, exchange_path(&copied)))
            {
                None => None,
                Some(Ok(file)) => Some(file),
                Some(Err(error)) => {
                    local.log(
                        exchange,
                        Level::Error,
                        format_args!(
                            "a request is not mirrored: its body cannot be copied: {error}"
                        ),
                    );
                    continue;
                }
            };
        }
        let local = Rc::clone(local);
        tokio::task::spawn_local(async move {
            let _taken = taken;
            subrequest::run(&local, &mut copied).await;
        });
    }
    Ok(Ok(()))
}

fn exchange_path(exchange: &Exchange) -> &std::path::Path {
    &exchange.settings.body_temp_path
}

/// The same bytes in a file of their own.
fn again(file: &mut TemporaryFile, directory: &std::path::Path) -> std::io::Result<TemporaryFile> {
    let mut copied = TemporaryFile::create(directory)?;
    let mut piece = vec![0; 64 << 10];
    file.rewind()?;
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => copied.append(&piece[..count])?,
        }
    }
    file.rewind()?;
    Ok(copied)
}

//! The terminal: taken over, drawn on without waiting for it, and always given back.
//!
//! A frame is written by a thread of its own, one at a time. While a write blocks (a slow line, a
//! terminal that was stopped) no other frame is made, so that nothing queues and keys stay first; the
//! next frame shows what is so by then.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};
use tokio::sync::Notify;

/// How long the end waits for a write that blocks.
const PATIENCE: Duration = Duration::from_millis(500);

/// Is the terminal ours? It is given back once, by whoever comes first.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the terminal over; [`leave`] gives it back.
pub fn enter(has_mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    IS_TAKEN.store(true, Ordering::SeqCst);
    let mut out = io::stdout();
    execute!(out, EnterAlternateScreen, EnableBracketedPaste, Hide)?;
    if has_mouse {
        execute!(out, EnableMouseCapture)?;
    }
    Ok(())
}

/// Gives the terminal back, if it is ours. A terminal that is gone needs nothing.
pub fn leave() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(
            out,
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            Show
        );
        let _ = disable_raw_mode();
    }
}

/// What frames are drawn into: the bytes for the terminal, collected.
#[derive(Clone, Debug, Default)]
struct Collected(Rc<RefCell<Vec<u8>>>);

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The screen and the thread that writes it.
#[derive(Debug)]
pub struct Screen {
    terminal: ratatui::Terminal<CrosstermBackend<Collected>>,
    collected: Collected,
    writer: Option<mpsc::SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<WriterState>,
}

#[derive(Debug, Default)]
struct WriterState {
    is_writing: AtomicBool,
    has_failed: AtomicBool,
    done: Notify,
}

impl Screen {
    /// A screen on standard output.
    pub fn new() -> io::Result<Self> {
        let collected = Collected::default();
        let terminal = ratatui::Terminal::new(CrosstermBackend::new(collected.clone()))?;
        let (writer, frames) = mpsc::sync_channel::<Vec<u8>>(1);
        let state = Arc::new(WriterState::default());
        let told = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || {
                for frame in frames {
                    let mut out = io::stdout().lock();
                    if out.write_all(&frame).and_then(|()| out.flush()).is_err() {
                        told.has_failed.store(true, Ordering::SeqCst);
                    }
                    drop(out);
                    told.is_writing.store(false, Ordering::SeqCst);
                    told.done.notify_one();
                }
            })?;
        Ok(Self {
            terminal,
            collected,
            writer: Some(writer),
            thread: Some(thread),
            state,
        })
    }

    /// May a frame be drawn, or is the last one still on its way?
    pub fn is_ready(&self) -> bool {
        !self.state.is_writing.load(Ordering::SeqCst)
    }

    /// Could the terminal not be written to?
    pub fn has_failed(&self) -> bool {
        self.state.has_failed.load(Ordering::SeqCst)
    }

    /// Until a write ended.
    pub async fn written(&self) {
        self.state.done.notified().await;
    }

    /// Draws a frame and sends what changed on its way. Only when [`Screen::is_ready`].
    pub fn draw(&mut self, draw: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        queue!(self.collected, BeginSynchronizedUpdate)?;
        self.terminal.draw(draw)?;
        queue!(self.collected, EndSynchronizedUpdate)?;
        self.send()
    }

    /// Forgets what the terminal shows: the next frame is drawn whole.
    pub fn forget(&mut self) -> io::Result<()> {
        // `clear` would ask the terminal where its cursor is, and wait.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Sends bytes that draw nothing, such as text for the clipboard, with the next frame.
    pub fn put(&mut self, bytes: &[u8]) {
        self.collected.0.borrow_mut().extend_from_slice(bytes);
    }

    fn send(&mut self) -> io::Result<()> {
        let frame = std::mem::take(&mut *self.collected.0.borrow_mut());
        self.state.is_writing.store(true, Ordering::SeqCst);
        let writer = self.writer.as_ref();
        let sent = writer.is_some_and(|writer| writer.try_send(frame).is_ok());
        if sent {
            Ok(())
        } else {
            Err(io::Error::other("the terminal's writer is gone"))
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        drop(self.writer.take());
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A terminal that takes nothing must not keep the program from ending.
        let waited = std::time::Instant::now();
        while !thread.is_finished() && waited.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() && thread.join().is_err() {
            self.state.has_failed.store(true, Ordering::SeqCst);
        }
    }
}

/// The sequence that puts a text into the clipboard of the terminal, also over ssh (OSC 52).
pub fn clipboard(text: &str) -> Vec<u8> {
    let mut sequence = b"\x1b]52;c;".to_vec();
    sequence.extend_from_slice(base64(text.as_bytes()).as_bytes());
    sequence.extend_from_slice(b"\x1b\\");
    sequence
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0u32, |group, (at, &byte)| {
            group | u32::from(byte) << (16 - 8 * at)
        });
        for at in 0..4 {
            if at <= chunk.len() {
                let letter = LETTERS[(group >> (18 - 6 * at)) as usize & 63];
                text.push(char::from(letter));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_the_clipboard_cannot_end_its_sequence() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        let sequence = clipboard("\x1b\\evil");
        assert_eq!(sequence.iter().filter(|&&byte| byte == 0x1b).count(), 2);
    }
}

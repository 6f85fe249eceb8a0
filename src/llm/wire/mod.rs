//! The words of a call: five formats, read, watched, edited and translated, without a socket.
//!
//! Owns what a request, an answer and a stream say in each format. Does not know keys, prices or providers'
//! addresses. Everything here works on bytes that are there; nothing waits, and nothing a client or a
//! provider sends makes it panic.
//!
//! # The way of a call
//!
//! 1. [`front::recognise`] tells format and operation by method, path and headers;
//!    [`front::credentials`] finds the client's secret, [`front::without_key`] makes the query safe to
//!    log and to pass on.
//! 2. When the body is there: [`json::Index::read`] with [`json::Duplicates::Refuse`], then
//!    [`facts::Facts::of`]: model, limits, an estimate of the tokens, everything that routing needs. Keep
//!    the index with the body; whatever follows borrows from it.
//! 3. The provider speaks the client's format: [`surgery::Surgery`] changes what must change and nothing
//!    else. Ask OpenAI's kind for usage in streams (`stream_options.include_usage`).
//!    The provider speaks another format: [`translate::read_request`], [`translate::write_request`], and a
//!    [`neutral::Client`] that says how the answer is shown. What was dropped is named in
//!    [`neutral::Written::dropped`]; what cannot be said is a [`neutral::Unsupported`] (400). Towards
//!    another provider than the one that made them, [`translate::forget_thinking`] first.
//!    Translation always asks for a chat, also for the older completions: set
//!    [`neutral::Client::operation`] to what the client asked for. Vectors have words of their own:
//!    [`embeddings`]. Gemini's model stands in the URL: [`gemini::path`].
//! 4. A whole answer: [`watch::Seen::of_answer`], then [`watch::Seen::verdict`]. A status of 400 and more:
//!    [`error::ProviderError::of_body`]. In another format: [`translate::answer`], verdict included.
//! 5. A stream: a [`watch::Watcher`] takes each piece of the provider and gives the bytes for the client.
//!    Hold them back until `seen().content` or the end: until then another provider can be tried. At the end
//!    of the body [`watch::Watcher::end`] and [`watch::Watcher::verdict`]; what failed after content is told by
//!    [`error::Told::event`], and nothing after it. A [`translate::Translator`] is used in the same way.
//! 6. [`usage::Reported::usage`] of what was seen is what the call used, if
//!    [`usage::Reported::has_output`]; [`watch::Seen::estimated_output`] if not.
//! 7. What is no conversation and no vector passes on as it came, but for the name of its model; in a form
//!    with parts that is found by [`multipart::field`].
//! 8. Lists of models and the like are the gateway's own to answer: [`models`].
//! 9. Errors, ours and theirs, become a [`error::Told`], which knows its status, its body and its event
//!    in every format.
//!
//! ```
//! use openclaw::llm::wire::facts::Facts;
//! use openclaw::llm::wire::front::{self, Format};
//! use openclaw::llm::wire::json::{Duplicates, Index};
//! use openclaw::llm::wire::surgery::Surgery;
//! use openclaw::llm::wire::watch::Watcher;
//!
//! let front = front::recognise("POST", "/v1/chat/completions", None, |_| false).unwrap();
//! let body = r#"{"model": "fast", "temperature": 0.50, "stream": true, "messages": []}"#;
//! let mut index = Index::new();
//! let root = index.read(body.as_bytes(), Duplicates::Refuse).unwrap();
//! let facts = Facts::of(&front, root).unwrap();
//! assert_eq!(facts.model.as_deref(), Some("fast"));
//!
//! let mut surgery = Surgery::new(root);
//! surgery.set_string(&["model"], "gpt-5-mini");
//! surgery.set(&["stream_options", "include_usage"], "true");
//! assert_eq!(
//!     surgery.finish(body),
//!     r#"{"model": "gpt-5-mini", "temperature": 0.50, "stream": true, "messages": [],"stream_options":{"include_usage":true}}"#,
//! );
//!
//! let mut watcher = Watcher::new(Format::OpenAi).naming("fast");
//! if !facts.include_usage {
//!     watcher = watcher.hiding_usage();
//! }
//! let event = b"data: {\"model\":\"gpt-5-mini\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
//! let out = watcher.push(event).unwrap();
//! assert!(out.starts_with(b"data: {\"model\":\"fast\""));
//! assert!(watcher.seen().content);
//! watcher.end();
//! assert!(watcher.verdict().is_err(), "it stopped before its end");
//! ```
//!
//! The same request to a provider that speaks another format:
//!
//! ```
//! use openclaw::llm::wire::front::Format;
//! use openclaw::llm::wire::json::{Duplicates, Index};
//! use openclaw::llm::wire::neutral::{Client, Names, Target};
//! use openclaw::llm::wire::translate::{self, Translator};
//!
//! let body = r#"{"model":"fast","seed":7,"messages":[{"role":"user","content":"Hi"}],"stream":true}"#;
//! let mut index = Index::new();
//! let root = index.read(body.as_bytes(), Duplicates::Refuse).unwrap();
//! let request = translate::read_request(Format::OpenAi, root).unwrap();
//! let target = Target::new("claude-sonnet");
//! let written = translate::write_request(Format::Anthropic, &request, &target).unwrap();
//! assert_eq!(written.dropped, ["seed"]);
//! assert!(written.body.starts_with(r#"{"model":"claude-sonnet","max_tokens":8192,"#));
//!
//! let client = Client {
//!     id: "7f3a".to_owned(),
//!     model: "fast".to_owned(),
//!     legacy: request.legacy,
//!     names: Names::of(&request, Format::Anthropic),
//!     ..Client::default()
//! };
//! let mut translator = Translator::new(Format::Anthropic, Format::OpenAi, client);
//! let event = b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n";
//! let out = translator.push(event).unwrap();
//! assert!(out.contains(r#""delta":{"content":"Hi"}"#));
//! assert!(translator.end().is_empty());
//! assert!(translator.verdict().is_err(), "it stopped before its end");
//! ```

pub mod anthropic;
pub mod embeddings;
pub mod error;
pub mod facts;
pub mod forget;
pub mod front;
pub mod gemini;
pub mod json;
pub mod models;
pub mod multipart;
pub mod neutral;
pub mod ollama;
pub mod openai;
pub mod responses;
pub mod sse;
pub mod surgery;
pub mod translate;
pub mod usage;
pub mod watch;

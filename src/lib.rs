//! OpenClaw: a personal proxy appliance that speaks the nginx configuration language.
//!
//! # The map
//!
//! One crate, cut into floors. A module may import from the floors below its own and from nothing
//! else, neither from above nor from its neighbours; `tests/it/floors.rs` reads this table and every
//! path in the sources, and fails if they disagree.
//!
//! | floor | module | owns |
//! | --- | --- | --- |
//! | 0 | [`mod@unit`] | sizes and times as nginx writes them, money, text safe to show, the clock |
//! | 1 | [`conf`] | the configuration language: text → tree → typed value; no sockets, no runtime |
//! | 1 | [`metrics`] | numbers that a worker writes without a lock and anybody reads |
//! | 1 | [`store`] | what outlives the process: one SQLite file that one thread writes, and a journal of calls |
//! | 2 | [`protocol`] | the control protocol: its types and its client |
//! | 2 | [`net`] | bytes: listening sockets, streams, deadlines, names of hosts |
//! | 3 | [`tls`] | TLS towards clients and peers, certificates as things that are held |
//! | 3 | [`http`] | the protocol without policy: heads, framing, bodies, variables |
//! | 4 | [`access`] | may a request pass |
//! | 4 | [`alerts`] | what needs a person, and how they are told |
//! | 4 | [`cache`] | what is kept of answers: zones in memory and on disk |
//! | 4 | [`files`] | answers from files |
//! | 4 | [`filter`] | what happens to an answer on its way to the client |
//! | 4 | [`log`] | what a request leaves behind, and what went wrong |
//! | 4 | [`route`] | which server and which location, rewrites |
//! | 4 | [`upstream`] | to which peer: groups, balance, health, kept connections |
//! | 5 | [`acme`] | getting certificates: accounts, orders, challenges, renewal |
//! | 5 | [`llm`] | what a call of a language model says, uses and costs |
//! | 6 | [`serve`] | THE way of a request: the phases in order, in one function |
//! | 7 | [`process`] | the running program: start, signals, reload, workers, end |
//! | 8 | [`control`] | the daemon's side of the control protocol |
//! | 9 | [`tui`] | the dashboard, a client of the control protocol |
//! | 10 | [`cli`] | what a person types, what is printed, the exit code |
//!
//! # A configuration
//!
//! Text becomes a tree that keeps every byte ([`conf::parser`]), the tree with its includes resolved
//! is compared with the table of directives ([`conf::check`]) and becomes a typed value
//! ([`conf::typed`]) in which no text is left to interpret. Only [`serve::generation`] makes of it
//! what runs. A generation is built whole beside the one in force and takes its place whole; requests
//! under way keep theirs.
//!
//! # A request
//!
//! A worker is a thread with its own event loop and its own listening sockets ([`process`]). It
//! accepts a connection, reads a head ([`serve::connection`]) and walks it through the phases
//! ([`serve::serve`]): server, location, rewrite, limits, access, then an answer from a file, the
//! [`cache`], a peer or the configuration itself, its fields, and its body through the filters of its
//! place. What it leaves behind goes to [`log`] and [`metrics`]. Workers share what never changes,
//! and, where a place has them, the zones of limits and caches, remembered logins and the state of
//! peers: in parts with locks of their own, held for a look and never across a wait.
//!
//! # A call of a language model
//!
//! A location with `llm_gateway` reads the whole call ([`serve::gateway`]) if there is room for it
//! ([`llm::room`]), looks at it without taking it apart ([`llm::wire`]), finds who may answer
//! ([`llm::models`], [`llm::sticky`]) and whose key it is, reserves what it may cost by the prices that hold
//! here ([`llm::tariff`]) and notes it ([`llm::books`]; in the store's journal first, in its ledger soon
//! after), unless an answer to the same call was kept ([`llm::kept`]). Then providers are asked one after
//! the other, those left out that fail or have reached a limit ([`llm::standing`]); the
//! answer passes as it came or is said in the client's words, and what it told of its usage settles the row.
//! What needs a person on the way goes to [`alerts`].
//!
//! # A certificate
//!
//! A server offers what stands in its slots ([`tls::slot`]). A slot is never empty: until there is a
//! certificate it holds a placeholder, and who fills it does so while handshakes go on. Files fill
//! those of `ssl_certificate` and are watched ([`tls::files`]); [`acme`] fills those of names that
//! have none: one task for each certificate orders it, proves the names, keeps it on the disk and
//! renews it, on the main thread. A handshake ([`tls::terminator`]) only reads.
//!
//! # A change
//!
//! Whoever wants something of the running program speaks the control protocol ([`protocol`]) over a
//! Unix socket, the dashboard ([`tui`]) also when it shares the process. [`control`] answers on the
//! main thread, beside requests and never on their way. What changes the configuration goes to the
//! [`process::desk`]: the texts are checked and built before the files are written, and nothing of it
//! is seen unless all goes well. What was in force is kept in the [`store`], whose one thread writes
//! in batches; nobody waits for it but a revision.
//!
//! # Words
//!
//! | word | means |
//! | --- | --- |
//! | downstream, upstream | towards the client, towards the origin |
//! | listener, server, location, upstream, peer | a bound socket, `server {}`, `location {}`, `upstream {}`, one address in it |
//! | exchange | a request with its answer (RFC 9110) |
//! | phase | a named step of a request: rewrite, access, content, log |
//! | filter | a step on the head or body of an answer |
//! | template | text with variables, compiled once (nginx: complex value) |
//! | generation | one configuration as it runs |
//! | drain | finish what runs, take nothing new |
//! | revision | one configuration that was put into force or refused, with its texts, as the store has it |
//! | base | what a change starts from: a revision and the digest of the files; it must be current |
//! | lease | how long a stream lives unless it is renewed |
//! | route | a location of a server, or a server for what no location takes, as it is counted and shown |
//! | diagnostic | what is wrong with a configuration, where, and the way out |

pub mod access;
pub mod acme;
pub mod alerts;
pub mod cache;
pub mod cli;
pub mod conf;
pub mod control;
pub mod files;
pub mod filter;
pub mod http;
pub mod llm;
pub mod log;
pub mod metrics;
pub mod net;
pub mod process;
pub mod protocol;
pub mod route;
pub mod serve;
pub mod store;
pub mod tls;
pub mod tui;
pub mod unit;
pub mod upstream;

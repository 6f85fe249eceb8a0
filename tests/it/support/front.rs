//! A front before an authority: it passes requests on, counts them, and does to them what a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use openclaw::tls::provider::provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::certificate::Pair;
use super::ports::{Port, reserve};

/// A request as it came.
pub struct Asked {
    /// Its place among all, from 1.
    pub number: usize,
    pub method: String,
    pub path: String,
    pub body: String,
}

/// What comes back.
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What is done with a request.
pub enum Verdict {
    /// It is passed on.
    Pass,
    /// The connection is closed, the authority hears nothing.
    Refuse,
    /// It is passed on, and the answer is lost.
    Mute,
    /// It is answered here.
    Answer(Answer),
    /// It is passed on, and the answer is another.
    Change(Box<dyn FnOnce(Answer) -> Answer>),
}

impl Answer {
    /// An answer in JSON.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self {
            status,
            fields: vec![("Content-Type".into(), "application/json".into())],
            body: value.to_string().into_bytes(),
        }
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }
}

/// A running front.
pub struct Front {
    pub port: Port,
    ends: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

impl Front {
    /// Listens with a certificate, before the authority at a port whose own comes from `root`.
    pub fn start(
        own: &Pair,
        root: &str,
        behind: u16,
        hook: impl Fn(&Asked) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let port = reserve();
        let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(root.as_bytes()).expect("PEM");
        roots.add(root).expect("a root");
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (server, client) = (Arc::new(server), Arc::new(client));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number)).expect("a port");
        let ends = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let hook = Arc::new(hook);
        let state = (Arc::clone(&ends), Arc::clone(&count));
        thread::spawn(move || {
            let (ends, count) = state;
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (server, client) = (Arc::clone(&server), Arc::clone(&client));
                let (hook, count) = (Arc::clone(&hook), Arc::clone(&count));
                thread::spawn(move || {
                    // A client that breaks off is none of the front's business.
                    let _ = serve(stream, server, client, behind, &count, &*hook);
                });
            }
        });
        Self { port, ends, count }
    }

    /// The address of the directory behind it.
    pub fn uri(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port.number)
    }

    /// So many requests came.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number));
    }
}

fn serve(
    stream: TcpStream,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    behind: u16,
    count: &AtomicUsize,
    hook: &(impl Fn(&Asked) -> Verdict + ?Sized),
) -> std::io::Result<()> {
    let session = ServerConnection::new(server).map_err(std::io::Error::other)?;
    let mut downstream = BufReader::new(StreamOwned::new(session, stream));
    let (first, fields) = head(&mut downstream)?;
    let length = value(&fields, "content-length").and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    downstream.read_exact(&mut body)?;
    let mut words = first.split(' ').map(str::to_owned);
    let asked = Asked {
        number: count.fetch_add(1, Ordering::SeqCst) + 1,
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let pass = || -> std::io::Result<Answer> {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let session = ClientConnection::new(client, name).map_err(std::io::Error::other)?;
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, behind))?;
        let mut upstream = BufReader::new(StreamOwned::new(session, socket));
        // An answer to HTTP/1.0 is not cut into chunks.
        let mut head_out = format!("{} {} HTTP/1.0\r\n", asked.method, asked.path);
        for (name, value) in &fields {
            if !name.eq_ignore_ascii_case("connection") {
                head_out.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head_out.push_str("\r\n");
        upstream.get_mut().write_all(head_out.as_bytes())?;
        upstream.get_mut().write_all(&body)?;
        upstream.get_mut().flush()?;
        let (first, mut fields) = head(&mut upstream)?;
        let mut body = Vec::new();
        // The end of the connection is the end of the answer, however it came.
        let _ = upstream.read_to_end(&mut body);
        fields.retain(|(name, _)| {
            !["content-length", "connection", "transfer-encoding"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own))
        });
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        Ok(Answer {
            status: status.unwrap_or(502),
            fields,
            body,
        })
    };
    let answer = match hook(&asked) {
        Verdict::Refuse => return Ok(()),
        Verdict::Mute => {
            pass()?;
            return Ok(());
        }
        Verdict::Pass => pass()?,
        Verdict::Answer(answer) => answer,
        Verdict::Change(change) => change(pass()?),
    };
    let mut out = format!("HTTP/1.1 {} Said\r\n", answer.status);
    for (name, value) in &answer.fields {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = answer.body.len();
    out.push_str(&format!(
        "Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ));
    let stream = downstream.get_mut();
    stream.write_all(out.as_bytes())?;
    if asked.method != "HEAD" {
        stream.write_all(&answer.body)?;
    }
    stream.conn.send_close_notify();
    stream.flush()
}

fn head(stream: &mut impl BufRead) -> std::io::Result<(String, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let fields = lines.iter().skip(1).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    let fields = fields.collect();
    Ok((lines.first().cloned().unwrap_or_default(), fields))
}

fn value<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    let found = fields
        .iter()
        .find(|(own, _)| own.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

//! `openssl ocsp` as the responder of an authority.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::CustomExtension;

use super::server::eventually;

/// Answers about the certificates of one authority; it ends when it is dropped, also by a test that
/// fails.
pub struct Responder(Child);

impl Responder {
    /// Answers from now on, on behalf of the authority whose certificate and key are in these files,
    /// about what stands in the index.
    pub fn start(port: u16, certificate: &Path, key: &Path, index: &str) -> Self {
        let list: PathBuf = certificate.with_extension(format!("{port}.index"));
        std::fs::write(&list, index).expect("written");
        let child = Command::new("openssl")
            .args(["ocsp", "-port", &port.to_string(), "-nmin", "60"])
            .args(["-index".as_ref(), list.as_os_str()])
            .args(["-CA".as_ref(), certificate.as_os_str()])
            .args(["-rsigner".as_ref(), certificate.as_os_str()])
            .args(["-rkey".as_ref(), key.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let responder = Self(child);
        let url = format!("http://127.0.0.1:{port}/");
        eventually("the responder answers", || {
            let output = Command::new("openssl")
                .args(["ocsp", "-noverify", "-url", &url, "-issuer"])
                .arg(certificate)
                .args(["-serial", "9"])
                .output()
                .expect("openssl runs");
            output.status.success().then_some(())
        });
        responder
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An index in which these serial numbers are revoked, and others up to 9 good.
pub fn index(revoked: &[u64]) -> String {
    (1..10)
        .map(|serial| match revoked.contains(&serial) {
            true => {
                format!("R\t40960101000000Z\t010101000000Z\t{serial:02X}\tunknown\t/CN={serial}\n")
            }
            false => format!("V\t40960101000000Z\t\t{serial:02X}\tunknown\t/CN={serial}\n"),
        })
        .collect()
}

/// What a certificate says of the responder at a port.
pub fn access(port: u16) -> CustomExtension {
    let url = format!("http://127.0.0.1:{port}/");
    // SEQUENCE of one: id-ad-ocsp and a URI (RFC 5280 section 4.2.2.1).
    let mut access = vec![0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 0x86, url.len() as u8];
    access.extend_from_slice(url.as_bytes());
    for _ in 0..2 {
        access.splice(0..0, [0x30, access.len() as u8]);
    }
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)
}

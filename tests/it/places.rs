//! Where addresses are: databases in MaxMind's format, made by a small writer of our own.

use std::fs;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::support::server::{Setup, eventually};

/// A database of IPv4 networks (MaxMind DB format 2.0): a tree of 32-bit records, the data, the marker
/// and the description.
fn database(built: u32, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut tree: Vec<[Option<Branch>; 2]> = vec![[None, None]];
    for (network, value) in networks {
        let (address, length) = network.split_once('/').expect("a network");
        let bits = u32::from(address.parse::<Ipv4Addr>().expect("an address"));
        let length: u32 = length.parse().expect("a length");
        let offset = data.len();
        encode(value, &mut data);
        let mut node = 0;
        for depth in 0..length {
            let bit = (bits >> (31 - depth) & 1) as usize;
            if depth + 1 == length {
                tree[node][bit] = Some(Branch::Data(offset));
            } else if let Some(Branch::Node(next)) = tree[node][bit] {
                node = next;
            } else {
                tree.push([None, None]);
                let next = tree.len() - 1;
                tree[node][bit] = Some(Branch::Node(next));
                node = next;
            }
        }
    }
    let count = tree.len();
    let mut bytes = Vec::new();
    for record in tree.iter().flatten() {
        let value = match record {
            None => count,
            Some(Branch::Node(node)) => *node,
            Some(Branch::Data(offset)) => count + 16 + offset,
        };
        bytes.extend((value as u32).to_be_bytes());
    }
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    // The format says which kind of number each is: 5, 6 and 9 have two, four and eight bytes.
    control(7, 9, &mut bytes);
    for (name, kind, value) in [
        ("binary_format_major_version", 5, 2),
        ("binary_format_minor_version", 5, 0),
        ("ip_version", 5, 4),
        ("record_size", 5, 32),
        ("node_count", 6, count as u64),
        ("build_epoch", 9, u64::from(built)),
    ] {
        let size = [2, 4, 0, 0, 8][kind - 5];
        encode(&Value::from(name), &mut bytes);
        control(kind as u8, size, &mut bytes);
        bytes.extend(&value.to_be_bytes()[8 - size..]);
    }
    for (name, value) in [
        ("database_type", json!("Test")),
        ("description", json!({})),
        ("languages", json!([])),
    ] {
        encode(&Value::from(name), &mut bytes);
        encode(&value, &mut bytes);
    }
    bytes
}

#[derive(Clone, Copy)]
enum Branch {
    Node(usize),
    Data(usize),
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    assert!(size < 285, "short values only");
    let (low, more) = match size {
        0..=28 => (size as u8, None),
        _ => (29, Some((size - 29) as u8)),
    };
    match kind {
        1..=7 => out.push(kind << 5 | low),
        _ => out.extend([low, kind - 7]),
    }
    out.extend(more);
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            control(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Number(number) => match number.as_u64() {
            Some(number) => {
                control(6, 4, out);
                out.extend((number as u32).to_be_bytes());
            }
            None => {
                control(3, 8, out);
                out.extend(number.as_f64().expect("a number").to_be_bytes());
            }
        },
        Value::Bool(truth) => control(14, usize::from(*truth), out),
        Value::Array(all) => {
            control(11, all.len(), out);
            all.iter().for_each(|value| encode(value, out));
        }
        Value::Object(all) => {
            control(7, all.len(), out);
            for (name, value) in all {
                encode(&Value::from(name.as_str()), out);
                encode(value, out);
            }
        }
        Value::Null => panic!("there is no such value"),
    }
}

#[test]
fn addresses_have_places_and_a_changed_database_is_read_anew() {
    let home = json!({ "country": { "iso_code": "CH", "names": { "en": "Switzerland" } },
        "location": { "latitude": 46.9 }, "subdivisions": [{ "iso_code": "BE" }], "asn": 65001, "eu": false });
    let first = database(
        1_700_000_000,
        &[
            ("127.0.0.0/8", home.clone()),
            ("203.0.113.0/24", json!({ "country": "JP" })),
            ("198.51.100.0/25", json!({ "country_code": "BR" })),
        ],
    );
    let server = Setup::http(
        "geoip2 %PREFIX%/places.mmdb {
             auto_reload 1s;
             $country default=-- source=$arg_ip country iso_code;
             $own default=-- country iso_code;
             $name country names en; $latitude location latitude; $canton subdivisions 0 iso_code; $asn asn;
             $built metadata build_epoch;
         }
         geoip2 %PREFIX%/missing.mmdb { $missing default=none country iso_code; }
         geoip2 %PREFIX%/broken.mmdb { $broken default=none country iso_code; }
         map $own $is_home { CH 1; }
         server { listen %LISTEN1%;
             location / { return 200 '$country $missing $broken'; }
             location /own { if ($is_home) { return 200 '$own $name $latitude $canton $asn $built'; } return 403; }
         }",
    )
    .file("places.mmdb", first)
    .file("broken.mmdb", "no database")
    .start();
    let ask = |target: &str| {
        let answer = server
            .connect(1)
            .ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        answer.text()
    };
    for (address, place) in [
        ("127.1.2.3", "CH"),
        ("203.0.113.9", "JP"),
        ("198.51.100.1", "BR"),
        ("198.51.100.200", "--"),
        ("8.8.8.8", "--"),
        ("::ffff:203.0.113.9", "JP"),
        ("2001:db8::1", "--"),
        ("nonsense", "--"),
        ("", "--"),
    ] {
        let told = ask(&format!("/?ip={address}"));
        assert_eq!(
            told,
            format!("{place} none none"),
            "{address}: {}",
            server.said()
        );
    }
    assert_eq!(ask("/own"), "CH Switzerland 46.90000 BE 65001 1700000000");
    let path = server.site().prefix.join("places.mmdb");
    let second = database(
        1_800_000_000,
        &[
            ("127.0.0.0/8", home),
            ("203.0.113.0/24", json!({ "country": "KR" })),
        ],
    );
    fs::write(path.with_extension("new"), second).expect("written");
    fs::rename(path.with_extension("new"), &path).expect("moved");
    eventually("the new database is read", || {
        ask("/?ip=203.0.113.9").starts_with("KR").then_some(())
    });
    // One that is half there changes nothing.
    fs::write(&path, "half").expect("written");
    assert!(ask("/?ip=203.0.113.9").starts_with("KR"));
    fs::remove_file(&path).expect("there");
    assert!(ask("/?ip=203.0.113.9").starts_with("KR"));
}

//! `geoip2`: variables that say where an address is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::conf::template::Template;

/// A variable of a `geoip2` block.
#[derive(Debug)]
pub struct Place {
    /// The database.
    pub path: Arc<Path>,
    /// `auto_reload`: how often it is looked whether the file has changed.
    pub reload: Duration,
    /// `source=`: what holds the address; the client's if `None`.
    pub source: Option<Template>,
    /// What is asked.
    pub asked: Asked,
    /// `default=`
    pub default: Box<[u8]>,
}

/// What a variable of `geoip2` asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The names on the way to a value of the address's record.
    Data(Box<[Box<str>]>),
    /// `metadata build_epoch`
    BuildEpoch,
    /// `metadata last_change`
    LastChange,
}

/// Proxies that name the client: `geoip2_proxy`, `geoip2_proxy_recursive`.
#[derive(Debug, Default)]
pub struct PlaceProxies {
    /// Their networks.
    pub networks: Vec<ipnet::IpNet>,
    /// Are proxies in the field passed over?
    pub recursive: bool,
}

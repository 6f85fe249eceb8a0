//! The names of variables: which exist, and what a name means.
//!
//! Owns the mapping from `$name` to [`Variable`]; computing a value is `http::variables`.
//! A name is resolved once, when the configuration is lowered; a request never looks one up.

use std::collections::HashMap;

/// A variable as compiled into a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Variable {
    /// One of the built-in names.
    Core(Core),
    /// `$http_NAME`: a request field; lower case, `_` stands for `-`.
    Http(Box<[u8]>),
    /// `$sent_http_NAME`: a response field.
    SentHttp(Box<[u8]>),
    /// `$sent_trailer_NAME`: a response trailer field.
    SentTrailer(Box<[u8]>),
    /// `$upstream_http_NAME`: a field of the last peer's response.
    UpstreamHttp(Box<[u8]>),
    /// `$upstream_trailer_NAME`: a trailer field of the last peer's response.
    UpstreamTrailer(Box<[u8]>),
    /// `$upstream_cookie_NAME`: a cookie set by the last peer.
    UpstreamCookie(Box<[u8]>),
    /// `$arg_NAME`: an argument of the query, name compared without case.
    Argument(Box<[u8]>),
    /// `$cookie_NAME`: a cookie of the request.
    Cookie(Box<[u8]>),
    /// `$proxy_protocol_tlv_NAME`: a further value of the PROXY protocol.
    ProxyProtocol(ProxyValue),
    /// `$jwt_claim_NAME`: what a token says.
    TokenClaim(Box<[u8]>),
    /// `$jwt_header_NAME`: what a token says of itself.
    TokenHeader(Box<[u8]>),
    /// `$oidc_claim_NAME`: what the provider said of whoever is logged in.
    LoginClaim(Box<[u8]>),
    /// A variable that the configuration defines: index into [`Names::slots`].
    Slot(u16),
}

/// One of the further values that version 2 of the PROXY protocol may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyValue {
    /// By its type.
    Plain(u8),
    /// One that describes TLS between the client and the proxy, by its type.
    Ssl(u8),
    /// What the verification of the client's certificate came to: 0 if it is good.
    SslVerify,
}

impl ProxyValue {
    /// The type of the value that holds all those about TLS (`PP2_TYPE_SSL`).
    pub const SSL: u8 = 0x20;

    /// What follows `$proxy_protocol_tlv_`: a name that nginx knows or a number as `0x05`; `ssl_` in
    /// front of a number means one about TLS.
    pub fn named(name: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = text.strip_prefix("0x")?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u8::from_str_radix(digits, 16).ok().filter(|_| is_number)
        };
        Some(match name {
            "alpn" => Self::Plain(0x01),
            "authority" => Self::Plain(0x02),
            "unique_id" => Self::Plain(0x05),
            "ssl" => Self::Plain(Self::SSL),
            "netns" => Self::Plain(0x30),
            "ssl_verify" => Self::SslVerify,
            "ssl_version" => Self::Ssl(0x21),
            "ssl_cn" => Self::Ssl(0x22),
            "ssl_cipher" => Self::Ssl(0x23),
            "ssl_sig_alg" => Self::Ssl(0x24),
            "ssl_key_alg" => Self::Ssl(0x25),
            _ => match name.strip_prefix("ssl_") {
                Some(name) => Self::Ssl(number(name)?),
                None => Self::Plain(number(name)?),
            },
        })
    }
}

macro_rules! core_variables {
    ($($name:literal => $variant:ident,)*) => {
        /// The built-in variables without a free part in their name.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "each variant is named after its variable")]
        pub enum Core { $($variant,)* }

        /// Every built-in name with its variant, in alphabetical order of names.
        pub const CORE: &[(&str, Core)] = &[$(($name, Core::$variant),)*];
    };
}

core_variables! {
    "args" => Args,
    "ban_status" => BanStatus,
    "binary_remote_addr" => BinaryRemoteAddr,
    "body_bytes_sent" => BodyBytesSent,
    "brotli_ratio" => BrotliRatio,
    "bytes_sent" => BytesSent,
    "connection" => Connection,
    "connection_requests" => ConnectionRequests,
    "connection_time" => ConnectionTime,
    "connections_active" => ConnectionsActive,
    "connections_reading" => ConnectionsReading,
    "connections_waiting" => ConnectionsWaiting,
    "connections_writing" => ConnectionsWriting,
    "content_length" => ContentLength,
    "content_type" => ContentType,
    "document_root" => DocumentRoot,
    "document_uri" => DocumentUri,
    "gzip_ratio" => GzipRatio,
    "host" => Host,
    "hostname" => Hostname,
    "http2" => Http2,
    "http3" => Http3,
    "https" => Https,
    "invalid_referer" => InvalidReferer,
    "is_args" => IsArgs,
    "is_request_port" => IsRequestPort,
    "limit_conn_status" => LimitConnStatus,
    "limit_rate" => LimitRate,
    "limit_req_status" => LimitReqStatus,
    "llm_attempts" => LlmAttempts,
    "llm_budget_used" => LlmBudgetUsed,
    "llm_cache" => LlmCache,
    "llm_cached_tokens" => LlmCachedTokens,
    "llm_code" => LlmCode,
    "llm_conversation" => LlmConversation,
    "llm_cost" => LlmCost,
    "llm_gateway" => LlmGateway,
    "llm_group" => LlmGroup,
    "llm_has_image" => LlmHasImage,
    "llm_has_schema" => LlmHasSchema,
    "llm_has_tools" => LlmHasTools,
    "llm_input_tokens" => LlmInputTokens,
    "llm_json" => LlmJson,
    "llm_key" => LlmKey,
    "llm_lang" => LlmLang,
    "llm_max_tokens" => LlmMaxTokens,
    "llm_model" => LlmModel,
    "llm_outcome" => LlmOutcome,
    "llm_output_tokens" => LlmOutputTokens,
    "llm_queue_time" => LlmQueueTime,
    "llm_route" => LlmRoute,
    "llm_saved" => LlmSaved,
    "llm_target" => LlmTarget,
    "llm_text" => LlmText,
    "llm_turns" => LlmTurns,
    "llm_user" => LlmUser,
    "msec" => Msec,
    "nginx_version" => NginxVersion,
    "pid" => Pid,
    "pipe" => Pipe,
    "proxy_add_x_forwarded_for" => ProxyAddXForwardedFor,
    "proxy_host" => ProxyHost,
    "proxy_port" => ProxyPort,
    "proxy_protocol_addr" => ProxyProtocolAddr,
    "proxy_protocol_port" => ProxyProtocolPort,
    "proxy_protocol_server_addr" => ProxyProtocolServerAddr,
    "proxy_protocol_server_port" => ProxyProtocolServerPort,
    "query_string" => QueryString,
    "realip_remote_addr" => RealipRemoteAddr,
    "realip_remote_port" => RealipRemotePort,
    "realpath_root" => RealpathRoot,
    "remote_addr" => RemoteAddr,
    "remote_port" => RemotePort,
    "remote_user" => RemoteUser,
    "request" => Request,
    "request_body" => RequestBody,
    "request_body_file" => RequestBodyFile,
    "request_completion" => RequestCompletion,
    "request_filename" => RequestFilename,
    "request_id" => RequestId,
    "request_length" => RequestLength,
    "request_method" => RequestMethod,
    "request_port" => RequestPort,
    "request_time" => RequestTime,
    "request_uri" => RequestUri,
    "scheme" => Scheme,
    "secure_link" => SecureLink,
    "secure_link_expires" => SecureLinkExpires,
    "server_addr" => ServerAddr,
    "server_name" => ServerName,
    "server_port" => ServerPort,
    "server_protocol" => ServerProtocol,
    "slice_range" => SliceRange,
    "ssl_alpn_protocol" => SslAlpnProtocol,
    "ssl_cipher" => SslCipher,
    "ssl_ciphers" => SslCiphers,
    "ssl_client_cert" => SslClientCert,
    "ssl_client_escaped_cert" => SslClientEscapedCert,
    "ssl_client_fingerprint" => SslClientFingerprint,
    "ssl_client_i_dn" => SslClientIDn,
    "ssl_client_i_dn_legacy" => SslClientIDnLegacy,
    "ssl_client_raw_cert" => SslClientRawCert,
    "ssl_client_s_dn" => SslClientSDn,
    "ssl_client_s_dn_legacy" => SslClientSDnLegacy,
    "ssl_client_serial" => SslClientSerial,
    "ssl_client_sigalg" => SslClientSigalg,
    "ssl_client_v_end" => SslClientVEnd,
    "ssl_client_v_remain" => SslClientVRemain,
    "ssl_client_v_start" => SslClientVStart,
    "ssl_client_verify" => SslClientVerify,
    "ssl_curve" => SslCurve,
    "ssl_curves" => SslCurves,
    "ssl_early_data" => SslEarlyData,
    "ssl_protocol" => SslProtocol,
    "ssl_server_name" => SslServerName,
    "ssl_session_id" => SslSessionId,
    "ssl_session_reused" => SslSessionReused,
    "ssl_sigalg" => SslSigalg,
    "status" => Status,
    "tcpinfo_rcv_space" => TcpinfoRcvSpace,
    "tcpinfo_rtt" => TcpinfoRtt,
    "tcpinfo_rttvar" => TcpinfoRttvar,
    "tcpinfo_snd_cwnd" => TcpinfoSndCwnd,
    "time_iso8601" => TimeIso8601,
    "time_local" => TimeLocal,
    "upstream_addr" => UpstreamAddr,
    "upstream_bytes_received" => UpstreamBytesReceived,
    "upstream_bytes_sent" => UpstreamBytesSent,
    "upstream_cache_age" => UpstreamCacheAge,
    "upstream_cache_etag" => UpstreamCacheEtag,
    "upstream_cache_key" => UpstreamCacheKey,
    "upstream_cache_last_modified" => UpstreamCacheLastModified,
    "upstream_cache_status" => UpstreamCacheStatus,
    "upstream_connect_time" => UpstreamConnectTime,
    "upstream_header_time" => UpstreamHeaderTime,
    "upstream_last_server_name" => UpstreamLastServerName,
    "upstream_queue_time" => UpstreamQueueTime,
    "upstream_response_length" => UpstreamResponseLength,
    "upstream_response_time" => UpstreamResponseTime,
    "upstream_status" => UpstreamStatus,
    "uri" => Uri,
    "zstd_ratio" => ZstdRatio,
}

/// What gives a slot its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// `set $name value`: empty until a `set` ran.
    Set,
    /// `map … $name {}`: index into `Http::maps`; computed when first asked.
    Map(u16),
    /// `geo … $name {}`: index into `Http::geos`.
    Geo(u16),
    /// `split_clients … $name {}`: index into `Http::splits`.
    Split(u16),
    /// An entry of `geoip2 … {}`: index into `Http::places`.
    Place(u16),
    /// A named group of a regular expression.
    Capture,
}

/// The variables that the configuration defines.
#[derive(Default, Debug)]
pub struct Names {
    index: HashMap<Box<str>, u16>,
    /// By slot: the name and where its value comes from.
    pub slots: Vec<(Box<str>, Source)>,
}

impl Names {
    /// The slot of a name; made when new. A computed source replaces a plain one.
    pub fn define(&mut self, name: &str, source: Source) -> u16 {
        if let Some(&slot) = self.index.get(name) {
            if !matches!(source, Source::Set | Source::Capture) {
                self.slots[usize::from(slot)].1 = source;
            }
            return slot;
        }
        let slot = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        self.slots.push((name.into(), source));
        self.index.insert(name.into(), slot);
        slot
    }

    /// The slot of a name that the configuration defines.
    pub fn slot(&self, name: &str) -> Option<u16> {
        self.index.get(name).copied()
    }

    /// What `$name` means; `None` if there is no such variable. Names are compared in lower case,
    /// as nginx does.
    pub fn resolve(&self, name: &str) -> Option<Variable> {
        let name = name.to_ascii_lowercase();
        if let Some(slot) = self.slot(&name) {
            return Some(Variable::Slot(slot));
        }
        if let Ok(position) = CORE.binary_search_by(|(known, _)| (*known).cmp(&name)) {
            return Some(Variable::Core(CORE[position].1));
        }
        if let Some(value) = name.strip_prefix("proxy_protocol_tlv_") {
            return ProxyValue::named(value).map(Variable::ProxyProtocol);
        }
        let rest = |prefix: &str| name.strip_prefix(prefix).map(|rest| rest.as_bytes().into());
        rest("http_")
            .map(Variable::Http)
            .or_else(|| rest("arg_").map(Variable::Argument))
            .or_else(|| rest("cookie_").map(Variable::Cookie))
            .or_else(|| rest("sent_http_").map(Variable::SentHttp))
            .or_else(|| rest("sent_trailer_").map(Variable::SentTrailer))
            .or_else(|| rest("upstream_http_").map(Variable::UpstreamHttp))
            .or_else(|| rest("upstream_trailer_").map(Variable::UpstreamTrailer))
            .or_else(|| rest("upstream_cookie_").map(Variable::UpstreamCookie))
            .or_else(|| rest("jwt_claim_").map(Variable::TokenClaim))
            .or_else(|| rest("jwt_header_").map(Variable::TokenHeader))
            .or_else(|| rest("oidc_claim_").map(Variable::LoginClaim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_names_are_sorted_so_that_the_search_finds_each() {
        assert!(CORE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_defined_name_wins_over_a_prefix() {
        let mut names = Names::default();
        let slot = names.define("http_x", Source::Set);
        assert_eq!(names.resolve("http_x"), Some(Variable::Slot(slot)));
        assert_eq!(
            names.resolve("http_y"),
            Some(Variable::Http((*b"y").into()))
        );
        assert_eq!(names.resolve("nothing"), None);
    }

    #[test]
    fn values_of_the_proxy_protocol_have_names_or_numbers() {
        let names = Names::default();
        let resolve = |name: &str| names.resolve(&format!("proxy_protocol_tlv_{name}"));
        let plain = |kind| Some(Variable::ProxyProtocol(ProxyValue::Plain(kind)));
        let ssl = |kind| Some(Variable::ProxyProtocol(ProxyValue::Ssl(kind)));
        assert_eq!(resolve("authority"), plain(2));
        assert_eq!(resolve("0xEE"), plain(0xee));
        assert_eq!(resolve("ssl_cn"), ssl(0x22));
        assert_eq!(resolve("ssl_0x3"), ssl(3));
        for unknown in ["", "other", "0x", "0x100", "0x+1", "ssl_", "ssl_x", "2"] {
            assert_eq!(resolve(unknown), None, "{unknown}");
        }
    }
}

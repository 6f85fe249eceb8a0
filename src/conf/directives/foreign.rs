//! Directives of nginx, and of its best-known modules, that this version lacks, each with the reason.
//!
//! Owns no row of the table: a name is here or there, never in both, so that a name moves to the table
//! in the commit that brings the feature. Directives that stand in both (`server` of `mail`) count as
//! ours; the block around them is refused.

use std::{collections::HashMap, sync::LazyLock};

/// Why a directive of nginx is not in the table; `None` for a name that nobody knows.
pub fn foreign(name: &str) -> Option<&'static str> {
    static WHY: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
        [COMING, ABSENT, REMOVED]
            .into_iter()
            .flatten()
            .flat_map(|lack| lack.names.split(' ').map(|name| (name, lack.why)))
            .collect()
    });
    WHY.get(name).copied()
}

/// One lack and the directives that fall to it.
struct Lack {
    /// Reads as a sentence without a full stop; names nginx's module where there is one.
    why: &'static str,
    /// Separated by one space.
    names: &'static str,
}

/// What this version lacks and a later one is to bring.
static COMING: &[Lack] = &[
    Lack {
        why: "encrypting the first message of clients (ECH, part of nginx's http_ssl) is not available in this version",
        names: "ssl_ech_file",
    },
    Lack {
        why: "lookup of countries (nginx's http_geoip) is not available in this version",
        names: "geoip_country geoip_org geoip_city geoip_proxy geoip_proxy_recursive",
    },
    Lack {
        why: "the web application firewall is not available in this version",
        names: "modsecurity modsecurity_rules modsecurity_rules_file modsecurity_rules_remote \
                modsecurity_transaction_id modsecurity_use_error_log",
    },
    Lack {
        why: "tracing with OpenTelemetry is not available in this version",
        names: "otel_exporter otel_service_name otel_trace otel_trace_context otel_span_name \
                otel_span_attr otel_resource_attr",
    },
    Lack {
        why: "sizes of socket buffers to peers (part of nginx's http_proxy and http_grpc) are not available in this version",
        names: "proxy_socket_rcvbuf proxy_socket_sndbuf grpc_socket_rcvbuf grpc_socket_sndbuf",
    },
    Lack {
        why: "limits on the size of core files (part of nginx's core) are not available in this version",
        names: "worker_rlimit_core",
    },
    Lack {
        why: "control of each attempt to reach a peer (nginx's commercial http_proxy) is not available in this version",
        names: "proxy_allow_upstream proxy_bind_dynamic proxy_request_dynamic",
    },
    Lack {
        why: "a file that keeps the peers (nginx's commercial http_upstream) is not available in this version",
        names: "state",
    },
    Lack {
        why: "Lua (the module http_lua) is not available in this version",
        names: "access_by_lua access_by_lua_block access_by_lua_file access_by_lua_no_postpone \
                balancer_by_lua_block balancer_by_lua_file body_filter_by_lua \
                body_filter_by_lua_block body_filter_by_lua_file content_by_lua \
                content_by_lua_block content_by_lua_file exit_worker_by_lua_block \
                exit_worker_by_lua_file header_filter_by_lua header_filter_by_lua_block \
                header_filter_by_lua_file init_by_lua init_by_lua_block init_by_lua_file \
                init_worker_by_lua init_worker_by_lua_block init_worker_by_lua_file log_by_lua \
                log_by_lua_block log_by_lua_file lua_capture_error_log lua_check_client_abort \
                lua_code_cache lua_http10_buffering lua_malloc_trim lua_max_pending_timers \
                lua_max_running_timers lua_need_request_body lua_package_cpath lua_package_path \
                lua_regex_cache_max_entries lua_regex_match_limit lua_sa_restart lua_shared_dict \
                lua_socket_buffer_size lua_socket_connect_timeout lua_socket_keepalive_timeout \
                lua_socket_log_errors lua_socket_pool_size lua_socket_read_timeout \
                lua_socket_send_lowat lua_socket_send_timeout lua_ssl_ciphers lua_ssl_conf_command \
                lua_ssl_crl lua_ssl_protocols lua_ssl_trusted_certificate lua_ssl_verify_depth \
                lua_thread_cache_max_entries lua_transform_underscores_in_response_headers \
                lua_use_default_type rewrite_by_lua rewrite_by_lua_block rewrite_by_lua_file \
                rewrite_by_lua_no_postpone server_rewrite_by_lua_block server_rewrite_by_lua_file \
                set_by_lua set_by_lua_block set_by_lua_file ssl_certificate_by_lua_block \
                ssl_certificate_by_lua_file ssl_client_hello_by_lua_block \
                ssl_client_hello_by_lua_file ssl_session_fetch_by_lua_block \
                ssl_session_fetch_by_lua_file ssl_session_store_by_lua_block \
                ssl_session_store_by_lua_file",
    },
];

/// What is not meant to come.
static ABSENT: &[Lack] = &[
    Lack {
        why: "files with the keys of TLS sessions are not supported: whoever has one can read along",
        names: "ssl_key_log proxy_ssl_key_log grpc_ssl_key_log",
    },
    Lack {
        why: "engines of OpenSSL (part of nginx's core) are not supported: TLS is not OpenSSL's here",
        names: "ssl_engine",
    },
    Lack {
        why: "FastCGI (nginx's http_fastcgi) is not supported; have the application speak HTTP and use `proxy_pass`",
        names: "fastcgi_pass fastcgi_index fastcgi_split_path_info fastcgi_store \
                fastcgi_store_access fastcgi_buffering fastcgi_request_buffering \
                fastcgi_ignore_client_abort fastcgi_bind fastcgi_socket_keepalive \
                fastcgi_connect_timeout fastcgi_send_timeout fastcgi_send_lowat \
                fastcgi_buffer_size fastcgi_pass_request_headers fastcgi_pass_request_body \
                fastcgi_intercept_errors fastcgi_read_timeout fastcgi_buffers \
                fastcgi_busy_buffers_size fastcgi_force_ranges fastcgi_limit_rate fastcgi_cache \
                fastcgi_cache_key fastcgi_cache_path fastcgi_cache_bypass fastcgi_no_cache \
                fastcgi_cache_valid fastcgi_cache_min_uses fastcgi_cache_max_range_offset \
                fastcgi_cache_use_stale fastcgi_cache_methods fastcgi_cache_lock \
                fastcgi_cache_lock_timeout fastcgi_cache_lock_age fastcgi_cache_revalidate \
                fastcgi_cache_background_update fastcgi_temp_path fastcgi_max_temp_file_size \
                fastcgi_temp_file_write_size fastcgi_next_upstream fastcgi_next_upstream_tries \
                fastcgi_next_upstream_timeout fastcgi_param fastcgi_pass_header \
                fastcgi_hide_header fastcgi_ignore_headers fastcgi_catch_stderr fastcgi_keep_conn \
                fastcgi_socket_rcvbuf fastcgi_socket_sndbuf fastcgi_cache_purge",
    },
    Lack {
        why: "uwsgi (nginx's http_uwsgi) is not supported; have the application speak HTTP and use `proxy_pass`",
        names: "uwsgi_pass uwsgi_modifier1 uwsgi_modifier2 uwsgi_store uwsgi_store_access \
                uwsgi_buffering uwsgi_request_buffering uwsgi_ignore_client_abort uwsgi_bind \
                uwsgi_socket_keepalive uwsgi_connect_timeout uwsgi_send_timeout uwsgi_buffer_size \
                uwsgi_pass_request_headers uwsgi_pass_request_body uwsgi_intercept_errors \
                uwsgi_read_timeout uwsgi_buffers uwsgi_busy_buffers_size uwsgi_force_ranges \
                uwsgi_limit_rate uwsgi_cache uwsgi_cache_key uwsgi_cache_path uwsgi_cache_bypass \
                uwsgi_no_cache uwsgi_cache_valid uwsgi_cache_min_uses uwsgi_cache_max_range_offset \
                uwsgi_cache_use_stale uwsgi_cache_methods uwsgi_cache_lock \
                uwsgi_cache_lock_timeout uwsgi_cache_lock_age uwsgi_cache_revalidate \
                uwsgi_cache_background_update uwsgi_temp_path uwsgi_max_temp_file_size \
                uwsgi_temp_file_write_size uwsgi_next_upstream uwsgi_next_upstream_tries \
                uwsgi_next_upstream_timeout uwsgi_param uwsgi_string uwsgi_pass_header \
                uwsgi_hide_header uwsgi_ignore_headers uwsgi_ssl_session_reuse uwsgi_ssl_protocols \
                uwsgi_ssl_ciphers uwsgi_ssl_name uwsgi_ssl_server_name uwsgi_ssl_verify \
                uwsgi_ssl_verify_depth uwsgi_ssl_trusted_certificate uwsgi_ssl_crl \
                uwsgi_ssl_certificate uwsgi_ssl_certificate_key uwsgi_ssl_certificate_cache \
                uwsgi_ssl_password_file uwsgi_ssl_conf_command uwsgi_socket_rcvbuf \
                uwsgi_socket_sndbuf uwsgi_cache_purge",
    },
    Lack {
        why: "SCGI (nginx's http_scgi) is not supported; have the application speak HTTP and use `proxy_pass`",
        names: "scgi_pass scgi_store scgi_store_access scgi_buffering scgi_request_buffering \
                scgi_ignore_client_abort scgi_bind scgi_socket_keepalive scgi_connect_timeout \
                scgi_send_timeout scgi_buffer_size scgi_pass_request_headers \
                scgi_pass_request_body scgi_intercept_errors scgi_read_timeout scgi_buffers \
                scgi_busy_buffers_size scgi_force_ranges scgi_limit_rate scgi_cache scgi_cache_key \
                scgi_cache_path scgi_cache_bypass scgi_no_cache scgi_cache_valid \
                scgi_cache_min_uses scgi_cache_max_range_offset scgi_cache_use_stale \
                scgi_cache_methods scgi_cache_lock scgi_cache_lock_timeout scgi_cache_lock_age \
                scgi_cache_revalidate scgi_cache_background_update scgi_temp_path \
                scgi_max_temp_file_size scgi_temp_file_write_size scgi_next_upstream \
                scgi_next_upstream_tries scgi_next_upstream_timeout scgi_param scgi_pass_header \
                scgi_hide_header scgi_ignore_headers scgi_socket_rcvbuf scgi_socket_sndbuf \
                scgi_cache_purge",
    },
    Lack {
        why: "memcached (nginx's http_memcached) is not supported",
        names: "memcached_pass memcached_bind memcached_socket_keepalive memcached_connect_timeout \
                memcached_send_timeout memcached_buffer_size memcached_read_timeout \
                memcached_next_upstream memcached_next_upstream_tries \
                memcached_next_upstream_timeout memcached_gzip_flag",
    },
    Lack {
        why: "tunnels for CONNECT (nginx's http_tunnel) are not supported; this is no forward proxy",
        names: "tunnel_pass tunnel_bind tunnel_socket_keepalive tunnel_socket_rcvbuf \
                tunnel_socket_sndbuf tunnel_connect_timeout tunnel_send_timeout tunnel_send_lowat \
                tunnel_buffer_size tunnel_read_timeout tunnel_next_upstream \
                tunnel_next_upstream_tries tunnel_next_upstream_timeout",
    },
    Lack {
        why: "server side includes (nginx's http_ssi) are not supported",
        names: "ssi ssi_silent_errors ssi_ignore_recycled_buffers ssi_min_file_chunk \
                ssi_value_length ssi_types ssi_last_modified errmsg timefmt",
    },
    Lack {
        why: "changing the character set (nginx's http_charset) is not supported",
        names: "charset source_charset override_charset charset_types charset_map",
    },
    Lack {
        why: "adding text around answers (nginx's http_addition) is not supported",
        names: "add_before_body add_after_body addition_types",
    },
    Lack {
        why: "cookies that number clients (nginx's http_userid) are not supported",
        names: "userid userid_service userid_name userid_domain userid_path userid_expires \
                userid_flags userid_p3p userid_mark",
    },
    Lack {
        why: "variables for old browsers (nginx's http_browser) are not supported; use `map $http_user_agent`",
        names: "modern_browser ancient_browser modern_browser_value ancient_browser_value",
    },
    Lack {
        why: "the built-in empty picture (nginx's http_empty_gif) is not supported; use `return 204`",
        names: "empty_gif",
    },
    Lack {
        why: "a random index file (nginx's http_random_index) is not supported",
        names: "random_index",
    },
    Lack {
        why: "WebDAV (nginx's http_dav) is not supported",
        names: "dav_methods create_full_put_path min_delete_depth dav_access",
    },
    Lack {
        why: "seeking in Flash video (nginx's http_flv) is not supported",
        names: "flv",
    },
    Lack {
        why: "seeking in MP4 files (nginx's http_mp4) is not supported; ranges work without it",
        names: "mp4 mp4_buffer_size mp4_max_buffer_size mp4_start_key_frame",
    },
    Lack {
        why: "changing pictures (nginx's http_image_filter) is not supported",
        names: "image_filter image_filter_jpeg_quality image_filter_webp_quality \
                image_filter_sharpen image_filter_transparency image_filter_interlace \
                image_filter_buffer",
    },
    Lack {
        why: "XSLT (nginx's http_xslt) is not supported",
        names: "xml_entities xslt_stylesheet xslt_param xslt_string_param xslt_types \
                xslt_last_modified",
    },
    Lack {
        why: "Perl (nginx's http_perl) is not supported",
        names: "perl_modules perl_require perl perl_set",
    },
    Lack {
        why: "refusing requests when memory is short (nginx's http_degradation) is not supported",
        names: "degradation degrade",
    },
    Lack {
        why: "a request after the answer (part of nginx's http_core) is not supported",
        names: "post_action",
    },
    Lack {
        why: "proxying of mail (nginx's mail modules) is not supported",
        names: "mail auth_http auth_http_timeout auth_http_header auth_http_pass_client_cert \
                protocol timeout max_errors imap_client_buffer imap_capabilities imap_auth \
                pop3_capabilities pop3_auth proxy proxy_buffer proxy_timeout \
                proxy_pass_error_message xclient proxy_smtp_auth smtp_client_buffer \
                smtp_greeting_delay smtp_capabilities smtp_auth starttls",
    },
    Lack {
        why: "proxying of plain TCP and UDP (nginx's stream modules) is not supported",
        names: "stream proxy_protocol_timeout preread_buffer_size preread_timeout pass \
                proxy_downstream_buffer proxy_upstream_buffer proxy_upload_rate \
                proxy_download_rate proxy_requests proxy_responses proxy_half_close proxy_ssl \
                proxy_ssl_alpn ssl_handshake_timeout ssl_alpn ssl_preread proxy_session_drop mqtt \
                mqtt_preread mqtt_set_connect mqtt_buffers mqtt_rewrite_buffer_size",
    },
    Lack {
        why: "profiling with gperftools (nginx's google_perftools) is not supported",
        names: "google_perftools_profiles",
    },
    Lack {
        why: "this method of event handling belongs to another operating system",
        names: "devpoll_changes devpoll_events eventport_events iocp_threads post_acceptex \
                acceptex_read kqueue_changes kqueue_events",
    },
    Lack {
        why: "JavaScript (nginx's http_js) is not supported",
        names: "js_access js_body_filter js_content js_context_reuse js_context_reuse_max_size \
                js_engine js_fetch_buffer_size js_fetch_ciphers js_fetch_keepalive \
                js_fetch_keepalive_requests js_fetch_keepalive_time js_fetch_keepalive_timeout \
                js_fetch_max_response_buffer_size js_fetch_protocols js_fetch_proxy \
                js_fetch_timeout js_fetch_trusted_certificate js_fetch_verify \
                js_fetch_verify_depth js_filter js_header_filter js_import js_include \
                js_load_http_native_module js_load_stream_native_module js_path js_periodic \
                js_preload_object js_preread js_set js_shared_dict_zone js_var",
    },
    Lack {
        why: "dictionaries of zstd are not supported: no browser takes what is packed with one this way",
        names: "zstd_dict_file",
    },
    Lack {
        why: "the module echo is not supported; use `return 200 text`",
        names: "echo echo_duplicate echo_flush echo_sleep echo_blocking_sleep echo_reset_timer \
                echo_read_request_body echo_location_async echo_location echo_subrequest_async \
                echo_subrequest echo_foreach_split echo_end echo_request_body echo_exec \
                echo_status echo_before_body echo_after_body",
    },
    Lack {
        why: "RTMP (the module rtmp) is not supported",
        names: "rtmp rtmp_stat rtmp_control",
    },
    Lack {
        why: "the module fancyindex is not supported; use `autoindex`",
        names: "fancyindex fancyindex_exact_size fancyindex_header fancyindex_footer \
                fancyindex_css_href fancyindex_ignore fancyindex_localtime fancyindex_name_length \
                fancyindex_show_path fancyindex_time_format",
    },
    Lack {
        why: "the module vhost_traffic_status is not supported; use `metrics`",
        names: "vhost_traffic_status vhost_traffic_status_zone vhost_traffic_status_display \
                vhost_traffic_status_display_format vhost_traffic_status_filter \
                vhost_traffic_status_filter_by_host vhost_traffic_status_filter_by_set_key \
                vhost_traffic_status_limit vhost_traffic_status_limit_traffic \
                vhost_traffic_status_limit_traffic_by_set_key vhost_traffic_status_bypass_limit \
                vhost_traffic_status_bypass_stats",
    },
    Lack {
        why: "the interface for live activity of nginx's commercial version is not supported",
        names: "status_format status_zone upstream_conf",
    },
    Lack {
        why: "this part of tokens and logins of nginx's commercial version is not supported",
        names: "auth_jwt_key_cache auth_jwt_type frontchannel_logout_uri session_store",
    },
    Lack {
        why: "streaming of media of nginx's commercial version is not supported",
        names: "f4f f4f_buffer_size hls hls_buffers hls_forward_args hls_fragment \
                hls_mp4_buffer_size hls_mp4_max_buffer_size",
    },
    Lack {
        why: "the key-value store of nginx's commercial version is not supported",
        names: "keyval keyval_zone",
    },
    Lack {
        why: "the session log of nginx's commercial version is not supported",
        names: "session_log session_log_format session_log_zone",
    },
    Lack {
        why: "sharing of zones between machines of nginx's commercial version is not supported",
        names: "zone_sync zone_sync_buffers zone_sync_connect_retry_interval \
                zone_sync_connect_timeout zone_sync_interval zone_sync_recv_buffer_size \
                zone_sync_server zone_sync_ssl zone_sync_ssl_certificate \
                zone_sync_ssl_certificate_key zone_sync_ssl_ciphers zone_sync_ssl_conf_command \
                zone_sync_ssl_crl zone_sync_ssl_name zone_sync_ssl_password_file \
                zone_sync_ssl_protocols zone_sync_ssl_server_name \
                zone_sync_ssl_trusted_certificate zone_sync_ssl_verify zone_sync_ssl_verify_depth \
                zone_sync_timeout",
    },
    Lack {
        why: "the licence report of nginx's commercial version is not supported",
        names: "mgmt license_token usage_report enforce_initial_report uuid_file \
                deployment_context proxy_username proxy_password",
    },
    Lack {
        why: "a connection for each NTLM login of nginx's commercial version is not supported",
        names: "ntlm",
    },
    Lack {
        why: "the map by number of nginx's commercial version is not supported",
        names: "num_map",
    },
    Lack {
        why: "the unconditional redirect inside of nginx's commercial version is not supported; use `rewrite`",
        names: "internal_redirect",
    },
    Lack {
        why: "the watch for stalled workers of nginx's commercial version is not supported",
        names: "stall_threshold",
    },
];

/// What nginx itself has given up.
static REMOVED: &[Lack] = &[
    Lack {
        why: "removed from nginx in 1.25.1; write `ssl` after the address in `listen`",
        names: "ssl",
    },
    Lack {
        why: "SPDY was removed from nginx in 1.9.5; use `http2`",
        names: "spdy_chunk_size spdy_headers_comp spdy_keepalive_timeout \
                spdy_max_concurrent_streams spdy_pool_size spdy_recv_buffer_size spdy_recv_timeout \
                spdy_streams_index_size",
    },
    Lack {
        why: "removed from nginx in 1.7.6; use `limit_conn_zone`",
        names: "limit_zone",
    },
    Lack {
        why: "removed from nginx; use `satisfy any`",
        names: "satisfy_any",
    },
    Lack {
        why: "removed from nginx; use `server_name_in_redirect`",
        names: "optimize_server_names",
    },
    Lack {
        why: "removed from nginx; use `open_file_cache_valid`",
        names: "open_file_cache_retest",
    },
    Lack {
        why: "replaced in nginx by `sticky cookie`",
        names: "sticky_cookie_insert",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::directives::rows;

    fn lacks() -> impl Iterator<Item = (&'static str, &'static str)> {
        [COMING, ABSENT, REMOVED]
            .into_iter()
            .flatten()
            .flat_map(|lack| lack.names.split(' ').map(|name| (name, lack.why)))
    }

    #[test]
    fn a_directive_is_ours_or_foreign_but_never_both() {
        for (name, _) in lacks() {
            assert!(rows(name).is_empty(), "`{name}` has a row and a lack");
        }
    }

    #[test]
    fn every_foreign_name_is_written_once() {
        let mut seen = std::collections::HashSet::new();
        for (name, _) in lacks() {
            assert!(!name.is_empty(), "two spaces between names");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "`{name}` is no name"
            );
            assert!(seen.insert(name), "`{name}` is written twice");
        }
    }

    #[test]
    fn a_reason_is_one_line_without_a_full_stop() {
        for (name, why) in lacks() {
            assert!(!why.contains('\n') && !why.ends_with('.'), "{name}: {why}");
        }
    }

    #[test]
    fn a_planned_feature_says_that_this_version_lacks_it() {
        let why = foreign("geoip_country").expect("known");
        assert!(why.ends_with("not available in this version"), "{why}");
        assert!(
            foreign("fastcgi_pass")
                .expect("known")
                .contains("`proxy_pass`")
        );
        assert_eq!(foreign("proxy_pass"), None);
        assert_eq!(foreign("no_such_directive"), None);
    }
}

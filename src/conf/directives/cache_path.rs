//! Rows of the cache's storage: the zones and where they are.

use super::{ANY_NUMBER, Argument::*, Contexts, Directive, row};

pub(super) const ROWS: &[Directive] = &[row(
    "http_proxy",
    "proxy_cache_path",
    Contexts::HTTP,
    &[
        Path,
        Parameter(&[
            "keys_zone=",
            "levels=",
            "memory=",
            "inactive=",
            "max_size=",
            "min_free=",
            "use_temp_path=",
            "manager_files=",
            "manager_sleep=",
            "manager_threshold=",
            "loader_files=",
            "loader_sleep=",
            "loader_threshold=",
            "purger=",
            "purger_files=",
            "purger_sleep=",
            "purger_threshold=",
        ]),
    ],
)
.takes(2, ANY_NUMBER)
.many()
.help(
    "directory of a cache, its zone, how much it may hold on disk and, with `memory`, in memory",
)];

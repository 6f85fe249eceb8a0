//! Rows of the main and `events` contexts: the process, its workers, its files.

use super::{
    ANY_NUMBER, Argument, Argument::*, COUNT, Contexts, Directive, HTTP_SERVER_LOCATION, POSITIVE,
    row,
};

const CORE: &str = "core";
const MAIN: Contexts = Contexts::MAIN;
const EVENTS: Contexts = Contexts::EVENTS;

const NO_ACCEPT_MUTEX: &str = "every worker has a listening socket of its own";
const NO_AIO: &str = "the engine does not use the kernel's asynchronous file calls";

/// What `error_log` takes after the file: a level, a debug area, or the JSON form.
const LOG_LEVELS: Argument = OneOf(&[
    "debug",
    "info",
    "notice",
    "warn",
    "error",
    "crit",
    "alert",
    "emerg",
    "debug_core",
    "debug_alloc",
    "debug_mutex",
    "debug_event",
    "debug_http",
    "debug_mail",
    "debug_stream",
    "json",
]);

pub(super) const ROWS: &[Directive] = &[
    row(CORE, "user", MAIN, &[Text, Text])
        .takes(1, 2)
        .default("nobody")
        .help("user, and optionally group, that the process runs as once its sockets are bound"),
    row(CORE, "worker_processes", MAIN, &[Free])
        .default("1")
        .help("number of workers; `auto` is one for each CPU"),
    row(CORE, "worker_rlimit_nofile", MAIN, &[COUNT])
        .help("limit of open files for the process, raised without a restart"),
    row(CORE, "worker_cpu_affinity", MAIN, &[Free])
        .takes(1, ANY_NUMBER)
        .no_effect("the system places the workers")
        .help(
            "the CPUs that each worker may use, as bit masks; `auto` binds one worker to one CPU",
        ),
    row(
        CORE,
        "worker_priority",
        MAIN,
        &[Number { min: -20, max: 20 }],
    )
    .default("0")
    .help("scheduling priority of the workers, as `nice` counts it"),
    row(CORE, "worker_shutdown_timeout", MAIN, &[Milliseconds])
        .help("how long a graceful stop or reload waits before it closes what is still open"),
    row(
        CORE,
        "error_log",
        MAIN.or(HTTP_SERVER_LOCATION),
        &[Free, LOG_LEVELS],
    )
    .takes(1, ANY_NUMBER)
    .many()
    .default("logs/error.log error")
    .help("where messages go and the lowest level that is written"),
    row(CORE, "log_rotate", MAIN, &[Offset, Parameter(&["keep="])])
        .takes(1, 2)
        .help("moves a log file that has grown to this size away, and keeps so many of them"),
    row(CORE, "pid", MAIN, &[Path])
        .default("logs/openclaw.pid")
        .help("file that holds the process id while the server runs"),
    row(CORE, "state_directory", MAIN, &[Path])
        .help("directory of the store: history of the configuration, traffic, events"),
    row(CORE, "control_socket", MAIN, &[Path])
        .help("path of the socket that dashboard and command line use; `off` for none"),
    row(CORE, "daemon", MAIN, &[Flag])
        .default("on")
        .help("whether the server goes to the background"),
    row(CORE, "master_process", MAIN, &[Flag])
        .default("on")
        .no_effect("workers are threads of one process")
        .help("whether a process of its own watches the workers"),
    row(CORE, "include", Contexts::ANY, &[Path])
        .many()
        .help("reads another file, or all files that match a mask, at this place"),
    row(CORE, "env", MAIN, &[Text])
        .many()
        .default("TZ")
        .no_effect("the environment stays as it was given to the program")
        .help("environment variable to keep, or to set as `name=value`"),
    row(CORE, "load_module", MAIN, &[Path])
        .many()
        .no_effect("every module is built in")
        .help("loads a module from a file"),
    row(CORE, "lock_file", MAIN, &[Path])
        .no_effect(NO_ACCEPT_MUTEX)
        .help("prefix of the names of lock files"),
    row(CORE, "pcre_jit", MAIN, &[Flag])
        .default("off")
        .no_effect("the engine for regular expressions compiles as it sees fit")
        .help("whether regular expressions are compiled to machine code"),
    row(
        CORE,
        "thread_pool",
        MAIN,
        &[Text, Parameter(&["threads=", "max_queue="])],
    )
    .takes(2, 3)
    .many()
    .default("default threads=32 max_queue=65536")
    .no_effect("the engine sizes its threads for blocking work by itself")
    .help("threads for reading files, and how many tasks may wait for them"),
    row(CORE, "timer_resolution", MAIN, &[Milliseconds])
        .no_effect("each worker keeps the time already")
        .help("how often the time is asked of the system"),
    row(CORE, "debug_points", MAIN, &[OneOf(&["abort", "stop"])])
        .no_effect("there are no debug points")
        .help("what to do when an internal error is met while debugging"),
    row(CORE, "working_directory", MAIN, &[Path])
        .help("directory that the process works in, for instance for core files"),
    row(CORE, "events", MAIN, &[])
        .block(EVENTS)
        .help("settings of connection handling"),
    row(CORE, "worker_connections", EVENTS, &[POSITIVE])
        .default("512")
        .help("most connections that one worker may hold, to clients and peers together"),
    row(CORE, "debug_connection", EVENTS, &[Text])
        .many()
        .no_effect("`error_log` sets the level for all connections of a place alike")
        .help("address, network or `unix:` whose connections are logged at level debug"),
    row(CORE, "multi_accept", EVENTS, &[Flag])
        .default("off")
        .help("whether a worker takes all new connections at once"),
    row(CORE, "accept_mutex", EVENTS, &[Flag])
        .default("off")
        .no_effect(NO_ACCEPT_MUTEX)
        .help("whether workers take turns at accepting connections"),
    row(CORE, "accept_mutex_delay", EVENTS, &[Milliseconds])
        .default("500ms")
        .no_effect(NO_ACCEPT_MUTEX)
        .help("how long a worker waits for its turn to accept"),
    row(CORE, "use", EVENTS, &[Text])
        .no_effect("the engine chooses the best method of the system")
        .help("how the system reports events on connections"),
    row(CORE, "epoll_events", EVENTS, &[COUNT])
        .default("512")
        .no_effect("the engine sizes its list of events by itself")
        .help("how many events are taken from the system at once"),
    row(CORE, "worker_aio_requests", EVENTS, &[COUNT])
        .default("32")
        .no_effect(NO_AIO)
        .help("most outstanding asynchronous file operations of one worker"),
    row("http", "http", MAIN, &[])
        .block(Contexts::HTTP)
        .help("everything about HTTP: servers, upstreams, and settings that they share"),
];

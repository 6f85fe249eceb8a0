//! The command line of the program: nginx's options and words, and ours.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Runs the program to its end in a directory of its own.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_openclaw"))
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .expect("the program must be there")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A directory with this configuration in `openclaw.conf`.
fn with_conf(conf: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("openclaw.conf"), conf).expect("a fresh file");
    directory
}

const GOOD: &str = "error_log e.log;\nevents { }\nhttp { access_log off; }\n";

#[test]
fn the_version_goes_to_standard_error_as_nginx_writes_it() {
    let directory = with_conf("");
    for option in ["-v", "--version"] {
        let output = run(directory.path(), &[option]);
        assert!(output.status.success());
        assert_eq!(
            stderr(&output),
            format!("openclaw version: openclaw/{}\n", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn what_is_built_in_is_told_where_tools_look_for_it() {
    let directory = with_conf("");
    let output = run(directory.path(), &["-V"]);
    assert!(output.status.success());
    let said = stderr(&output);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("openclaw version: "), "{said}");
    assert_eq!(lines[1], "nginx version: nginx/1.31.0 (compatible)");
    assert!(lines[2].starts_with("configure arguments: --"), "{said}");
    assert!(
        lines[2].contains("--with-http_stub_status_module"),
        "{said}"
    );
}

#[test]
fn help_lists_the_options_and_explains_directives_and_codes() {
    let directory = with_conf("");
    let output = run(directory.path(), &["-h"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("Usage: openclaw [-?hvVtTq]"));
    let output = run(directory.path(), &["help", "listen"]);
    assert!(output.status.success());
    assert!(stdout(&output).contains("syntax"));
    let output = run(directory.path(), &["help", "lisetn"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "openclaw: unknown directive `lisetn`\nhint: did you mean `listen`?\n"
    );
    let output = run(directory.path(), &["explain", "e030"]);
    assert!(output.status.success());
    assert!(stdout(&output).starts_with("OC-E030: "));
    let output = run(directory.path(), &["explain", "OC-E999"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_unknown_option_fails_and_names_the_nearest() {
    let directory = with_conf(GOOD);
    let output = run(directory.path(), &["--jsn", "-t"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "openclaw: invalid option: \"--jsn\"\nhint: did you mean `--json`?\n"
    );
}

#[test]
fn a_relative_configuration_starts_where_we_are_and_is_the_place_of_its_paths() {
    let directory = with_conf("");
    fs::create_dir(directory.path().join("sub")).expect("a fresh directory");
    let conf = "error_log here.log;\nevents { }\nhttp { access_log off; }\n";
    fs::write(directory.path().join("sub/a.conf"), conf).expect("a fresh file");
    let output = run(directory.path(), &["-tqc", "sub/a.conf", "-e", "early.log"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(directory.path().join("sub/early.log").exists());
}

#[test]
fn the_first_configuration_has_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let mut loaded = openclaw::conf::include::load(Path::new("openclaw.conf"), &root, None);
    openclaw::conf::check::check(&mut loaded);
    let lowered = openclaw::conf::typed::lower::config::lower(&mut loaded, &root, &[]);
    let shown = openclaw::conf::diagnostic::render_short(&loaded.diagnostics, &loaded.sources);
    assert_eq!(shown, "");
    assert_eq!(lowered.expect("no mistakes").http.servers.len(), 1);
}

#[test]
fn a_good_configuration_passes_the_test_in_nginx_words() {
    let directory = with_conf(GOOD);
    let path = directory.path().join("openclaw.conf");
    let expected = format!(
        "openclaw: the configuration file {path} syntax is ok\n\
         openclaw: configuration file {path} test is successful\n",
        path = path.display()
    );
    for arguments in [&["-t", "-p", "."][..], &["check", "-p.", "-copenclaw.conf"]] {
        let output = run(directory.path(), arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stderr(&output), expected);
        assert_eq!(stdout(&output), "");
    }
    let output = run(directory.path(), &["-tqp", "."]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_configuration_with_mistakes_fails_the_test_with_all_of_them() {
    let directory = with_conf("events { }\nhttp { serverr { } gzipp on; }\n");
    let output = run(directory.path(), &["-t", "-p", "."]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("unknown directive `serverr`"), "{said}");
    assert!(said.contains("unknown directive `gzipp`"), "{said}");
    assert!(said.contains("openclaw.conf:2:8"), "{said}");
    let path = directory.path().join("openclaw.conf");
    let last = format!(
        "openclaw: configuration file {} test failed\n",
        path.display()
    );
    assert!(said.ends_with(&last), "{said}");
    // Without a terminal there is no colour.
    assert!(!said.contains('\x1b'), "{said}");
}

#[test]
fn problems_are_told_as_json_on_standard_output() {
    let directory = with_conf("events { }\nhttp { gzipp on; }\n");
    for option in ["--json", "--format=json"] {
        let output = run(directory.path(), &["-t", option, "-p", "."]);
        assert_eq!(output.status.code(), Some(1));
        let text = stdout(&output);
        assert!(text.starts_with('[') || text.starts_with('{'), "{text}");
        assert!(text.contains("\"OC-E030\""), "{text}");
        assert!(!stderr(&output).contains("-->"), "{}", stderr(&output));
    }
}

#[test]
fn a_warning_passes_the_test_unless_it_is_strict() {
    let conf = "events { }\nhttp { include mime.types; access_log off; }\n";
    let directory = with_conf(conf);
    let output = run(directory.path(), &["-t", "-p", "."]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("warning[OC-W"),
        "{}",
        stderr(&output)
    );
    let output = run(directory.path(), &["-t", "--strict", "-p", "."]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("test failed"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_dump_shows_every_file_that_was_read() {
    let directory = with_conf(&format!("{GOOD}include more/*.conf;\n"));
    fs::create_dir(directory.path().join("more")).expect("a fresh directory");
    fs::write(directory.path().join("more/a.conf"), "# the other\n").expect("a fresh file");
    let output = run(
        directory.path(),
        &["-T", "-p", ".", "-g", "worker_processes 1;"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let root = directory.path().display();
    assert_eq!(
        stdout(&output),
        format!(
            "# configuration file {root}/openclaw.conf:\n{GOOD}include more/*.conf;\n\n\
             # configuration file {root}/more/a.conf:\n# the other\n\n"
        )
    );
}

#[test]
fn without_a_configuration_the_places_looked_at_are_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = run(directory.path(), &["-p", "."]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("/conf/openclaw.conf` nor `"), "{said}");
    assert!(said.contains("hint: name one with `-c FILE`"), "{said}");
}

#[test]
fn an_unknown_directive_keeps_the_program_from_starting_and_the_log_says_so_too() {
    let directory = with_conf("events { }\nhttp { gzipp on; }\n");
    let output = run(directory.path(), &["-p", ".", "-e", "early.log"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("unknown directive `gzipp`"));
    let log = fs::read_to_string(directory.path().join("early.log")).expect("was opened");
    assert!(log.contains("[emerg]"), "{log}");
    assert!(
        log.contains("openclaw.conf:2:8: error[OC-E030]: unknown directive `gzipp`"),
        "{log}"
    );
}

#[test]
fn the_log_of_the_command_line_is_there_even_if_nothing_was_told() {
    let directory = with_conf(GOOD);
    let output = run(directory.path(), &["-tqp.", "-e", "early.log"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let log = fs::read_to_string(directory.path().join("early.log")).expect("was opened");
    assert_eq!(log, "");
}

#[test]
fn a_signal_without_a_process_fails_in_nginx_words() {
    let directory = with_conf("pid a.pid;\nevents { }\n");
    let pid = directory.path().join("a.pid");
    let ask = |expected: String| {
        for order in ["stop", "quit", "reopen", "reload"] {
            let output = run(directory.path(), &["-p", ".", "-e", "e.log", "-s", order]);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(stderr(&output), expected);
        }
    };
    let shown = pid.display();
    ask(format!(
        "openclaw: [error] open() \"{shown}\" failed (2: No such file or directory)\n"
    ));
    fs::write(&pid, "nonsense\n").expect("a fresh file");
    ask(format!(
        "openclaw: [error] invalid PID number \"nonsense\" in \"{shown}\"\n"
    ));
    // Somebody else's number by now: nobody holds the file.
    fs::write(&pid, "1\n").expect("a fresh file");
    ask(format!(
        "openclaw: [error] the process 1 of \"{shown}\" is gone\n"
    ));
}

#[test]
fn a_reload_is_not_asked_for_when_the_configuration_has_mistakes_and_a_stop_is() {
    let directory = with_conf("pid a.pid;\nevents { }\nhttp { gzipp on; }\n");
    let output = run(
        directory.path(),
        &["-p", ".", "-e", "e.log", "-s", "reload"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("unknown directive `gzipp`"));
    let output = run(directory.path(), &["-p", ".", "-e", "e.log", "-s", "stop"]);
    assert!(stderr(&output).contains("a.pid"), "{}", stderr(&output));
}

#[test]
fn files_are_brought_into_the_common_form() {
    let directory = with_conf("events{}\nhttp{gzip on;}\n");
    let path = directory.path().join("openclaw.conf");
    let output = run(directory.path(), &["fmt", "--check", "openclaw.conf"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "openclaw: `openclaw.conf` would change\n");
    let output = run(directory.path(), &["fmt", "openclaw.conf"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = fs::read_to_string(&path).expect("there");
    assert!(text.contains("http {\n    gzip on;\n}\n"), "{text}");
    let output = run(directory.path(), &["fmt", "--check", "openclaw.conf"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

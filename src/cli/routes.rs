//! `openclaw routes` and `openclaw route`: where requests go, and why one goes where it does.

use std::sync::Arc;

use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::{Daemon, Field};
use super::{conf_file, print};
use crate::control;
use crate::protocol::{Explanation, Question, Route, Routes};
use crate::unit::printable::escape;

/// Lists all routes.
pub fn list(session: &Session) -> Result<(), Failure> {
    let routes: Routes = session.get("/v1/routes")?;
    if session.json {
        print_json(&routes);
    } else if routes.routes.is_empty() {
        print("no routes: the configuration has no server\n");
    } else {
        print(&table(&routes).text());
    }
    Ok(())
}

/// Explains one request.
pub fn explain(session: &Session, question: &Question) -> Result<(), Failure> {
    let explanation: Explanation = session.post("/v1/explain", question)?;
    if session.json {
        print_json(&explanation);
    } else {
        print(&steps(question, &explanation));
    }
    Ok(())
}

/// Explains one request by a file, without a daemon.
pub fn explain_file(daemon: &Daemon, question: &Question) -> Result<(), Failure> {
    let (loaded, config) = conf_file::read_good(daemon)?;
    let explanation = control::explain(&Arc::new(config.http), &loaded.sources, question)
        .map_err(Failure::failed)?;
    if daemon.json {
        print_json(&explanation);
    } else {
        print(&steps(question, &explanation));
    }
    Ok(())
}

/// The question that the words on the command line ask.
pub fn question(
    request: &[String],
    client: Option<std::net::IpAddr>,
    fields: &[Field],
) -> Result<Question, Failure> {
    let (method, url) = match request {
        [method, url] => (method.as_str(), url.as_str()),
        [url] => ("GET", url.as_str()),
        // The parser of words takes one or two.
        _ => ("GET", ""),
    };
    // What people copy from a browser's address line has no scheme.
    let url = match url.split_once("://") {
        Some(("http" | "https", _)) => url.to_owned(),
        Some((scheme, _)) => {
            return Err(Failure::Told(
                super::exit::Exit::Usage,
                format!("`{scheme}://` is not served here\nhint: write http:// or https://"),
            ));
        }
        None => format!("http://{url}"),
    };
    let fields = fields.iter();
    Ok(Question {
        method: method.to_owned(),
        url,
        fields: fields
            .map(|field| (field.name.clone(), field.value.clone()))
            .collect(),
        client: client.map(|client| client.to_string()).unwrap_or_default(),
    })
}

/// The name of a route's server for people.
pub fn server(route: &Route) -> String {
    match (route.server.is_empty(), route.is_default) {
        (false, false) => route.server.clone(),
        (false, true) => format!("{} (default)", route.server),
        (true, false) => "_".to_owned(),
        (true, true) => "_ (default)".to_owned(),
    }
}

fn table(routes: &Routes) -> Table {
    let mut table = Table::new(&[
        ("SERVER", Side::Left),
        ("LISTEN", Side::Left),
        ("LOCATION", Side::Left),
        ("TARGET", Side::Left),
        ("PLACE", Side::Left),
    ]);
    for route in &routes.routes {
        table.row([
            server(route),
            route.listens.join(" "),
            route.location.clone(),
            route.target.clone(),
            format!("{}:{}", route.file, route.line),
        ]);
    }
    table
}

/// An explanation for people.
pub fn steps(question: &Question, explanation: &Explanation) -> String {
    let mut out = format!("{} {}\n", escape(&question.method), escape(&question.url));
    let mut table = Table::new(&[
        ("PHASE", Side::Left),
        ("WHAT", Side::Left),
        ("WHERE", Side::Left),
    ]);
    for step in &explanation.steps {
        table.row([step.phase.clone(), step.text.clone(), step.place.clone()]);
    }
    for line in table.lines() {
        out.push_str(&format!("  {line}\n"));
    }
    let target = match explanation.target.is_empty() {
        true => "nothing answers".to_owned(),
        false => explanation.target.clone(),
    };
    let mut result = format!("=> {}", escape(&target));
    if let Some(status) = explanation.status {
        result.push_str(&format!(", status {status}"));
    }
    out.push_str(&result);
    out.push('\n');
    if let Some(url) = &explanation.upstream_url {
        out.push_str(&format!("   asks {}\n", escape(url)));
    }
    if !explanation.peers.is_empty() {
        out.push_str(&format!(
            "   peers, the likeliest first: {}\n",
            escape(&explanation.peers.join(", "))
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Step;

    #[test]
    fn routes_are_listed_with_their_place() {
        let route = |server: &str, location: &str, target: &str, is_default| Route {
            server: server.to_owned(),
            listens: vec!["80".to_owned()],
            location: location.to_owned(),
            target: target.to_owned(),
            is_default,
            file: "openclaw.conf".to_owned(),
            line: 48,
            ..Route::default()
        };
        let routes = Routes {
            routes: vec![
                route("example.org", "~ \\.(png|css)$", "root /srv/www", false),
                route("", "/", "return 444", true),
            ],
            ..Routes::default()
        };
        assert_eq!(
            table(&routes).text(),
            "SERVER       LISTEN  LOCATION        TARGET         PLACE\n\
             example.org  80      ~ \\.(png|css)$  root /srv/www  openclaw.conf:48\n\
             _ (default)  80      /               return 444     openclaw.conf:48\n"
        );
    }

    #[test]
    fn an_explanation_tells_the_steps_and_the_end() {
        let explanation = Explanation {
            target: "http://app".to_owned(),
            steps: vec![
                Step {
                    phase: "server".to_owned(),
                    text: "`example.org` by its name".to_owned(),
                    place: "a.conf:3".to_owned(),
                },
                Step {
                    phase: "location".to_owned(),
                    text: "/api/\x1b[A".to_owned(),
                    place: String::new(),
                },
            ],
            peers: vec!["10.0.0.1:80".to_owned(), "10.0.0.2:80".to_owned()],
            upstream_url: Some("http://app/x".to_owned()),
            ..Explanation::default()
        };
        let question = question(&["example.org/api/x".to_owned()], None, &[]).expect("good");
        assert_eq!(question.url, "http://example.org/api/x");
        assert_eq!(
            steps(&question, &explanation),
            "GET http://example.org/api/x\n  \
               PHASE     WHAT                       WHERE\n  \
               server    `example.org` by its name  a.conf:3\n  \
               location  /api/^[[A\n\
             => http://app\n   \
                asks http://app/x\n   \
                peers, the likeliest first: 10.0.0.1:80, 10.0.0.2:80\n"
        );
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!(question(&["ftp://a/".to_owned()], None, &[]).is_err());
    }
}

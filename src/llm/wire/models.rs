//! Small answers that the gateway makes itself, in every format: the list of models, one model, the
//! version, the number of tokens.

use super::front::{Format, Operation};
use super::json::Writer;
use super::ollama::moment;

/// A model as a client is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model<'a> {
    /// The name under which it is asked for.
    pub name: &'a str,
    /// When it was made or added, in seconds since 1970.
    pub created: u64,
    /// Whose it is.
    pub owner: &'a str,
    /// The most tokens that go in.
    pub context: Option<u64>,
    /// The most tokens that come out.
    pub max_output: Option<u64>,
}

/// The answer to [`Operation::Models`].
#[must_use]
pub fn list(format: Format, models: &[Model<'_>]) -> String {
    let mut out = Writer::new();
    out.open();
    match format {
        Format::OpenAi | Format::Responses => {
            out.key("object").string("list").key("data").open_array();
            write_all(format, models, &mut out);
            out.close_array();
        }
        Format::Anthropic => {
            out.key("data").open_array();
            write_all(format, models, &mut out);
            out.close_array().key("has_more").boolean(false);
            for (key, model) in [("first_id", models.first()), ("last_id", models.last())] {
                out.key(key);
                match model {
                    Some(model) => out.string(model.name),
                    None => out.null(),
                };
            }
        }
        Format::Gemini | Format::Ollama => {
            out.key("models").open_array();
            write_all(format, models, &mut out);
            out.close_array();
        }
    }
    out.close();
    out.finish()
}

fn write_all(format: Format, models: &[Model<'_>], out: &mut Writer) {
    for model in models {
        write(format, model, out);
    }
}

/// The answer to [`Operation::Model`].
#[must_use]
pub fn one(format: Format, model: &Model<'_>) -> String {
    let mut out = Writer::new();
    if format == Format::Ollama {
        out.open().key("modified_at").string(&moment(model.created));
        details(&mut out);
        out.key("model_info").open();
        if let Some(context) = model.context {
            out.key("general.context_length").integer(context);
        }
        out.close().key("capabilities").open_array();
        out.string("completion")
            .string("tools")
            .close_array()
            .close();
    } else {
        write(format, model, &mut out);
    }
    out.finish()
}

fn details(out: &mut Writer) {
    out.key("details")
        .open()
        .key("format")
        .string("")
        .key("family")
        .string("");
    out.key("parameter_size")
        .string("")
        .key("quantization_level")
        .string("")
        .close();
}

fn write(format: Format, model: &Model<'_>, out: &mut Writer) {
    out.open();
    match format {
        Format::OpenAi | Format::Responses => {
            out.key("id")
                .string(model.name)
                .key("object")
                .string("model");
            out.key("created")
                .integer(model.created)
                .key("owned_by")
                .string(model.owner);
        }
        Format::Anthropic => {
            out.key("id").string(model.name).key("type").string("model");
            out.key("display_name").string(model.name);
            out.key("created_at").string(&moment(model.created));
        }
        Format::Gemini => {
            out.key("name").string(&format!("models/{}", model.name));
            out.key("displayName").string(model.name);
            if let Some(context) = model.context {
                out.key("inputTokenLimit").integer(context);
            }
            if let Some(most) = model.max_output {
                out.key("outputTokenLimit").integer(most);
            }
            out.key("supportedGenerationMethods").open_array();
            out.string("generateContent")
                .string("countTokens")
                .close_array();
        }
        Format::Ollama => {
            out.key("name")
                .string(model.name)
                .key("model")
                .string(model.name);
            out.key("modified_at").string(&moment(model.created));
            out.key("size").integer(0).key("digest").string("");
            details(out);
        }
    }
    out.close();
}

/// The answer to [`Operation::CountTokens`].
#[must_use]
pub fn tokens(format: Format, tokens: u64) -> String {
    let mut out = Writer::new();
    out.open();
    match format {
        Format::Gemini => out.key("totalTokens").integer(tokens),
        Format::Responses => {
            out.key("object").string("response.input_tokens");
            out.key("input_tokens").integer(tokens)
        }
        Format::OpenAi | Format::Anthropic | Format::Ollama => {
            out.key("input_tokens").integer(tokens)
        }
    };
    out.close();
    out.finish()
}

/// The answer to [`Operation::Version`]: one whose features clients of Ollama may rely on.
#[must_use]
pub fn version() -> &'static str {
    r#"{"version":"0.12.0"}"#
}

/// Whether the gateway answers such a request itself, without a provider.
#[must_use]
pub const fn is_ours(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Models | Operation::Model | Operation::Version | Operation::Running
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_listed_in_the_shape_of_each_format() {
        let models = [Model {
            name: "a\"b",
            created: 1_700_000_000,
            owner: "us",
            context: Some(9),
            max_output: None,
        }];
        for (format, expected) in [
            (
                Format::OpenAi,
                r#"{"object":"list","data":[{"id":"a\"b","object":"model","created":1700000000,"owned_by":"us"}]}"#,
            ),
            (
                Format::Anthropic,
                r#"{"data":[{"id":"a\"b","type":"model","display_name":"a\"b","created_at":"2023-11-14T22:13:20Z"}],"has_more":false,"first_id":"a\"b","last_id":"a\"b"}"#,
            ),
            (
                Format::Gemini,
                r#"{"models":[{"name":"models/a\"b","displayName":"a\"b","inputTokenLimit":9,"supportedGenerationMethods":["generateContent","countTokens"]}]}"#,
            ),
            (
                Format::Ollama,
                r#"{"models":[{"name":"a\"b","model":"a\"b","modified_at":"2023-11-14T22:13:20Z","size":0,"digest":"","details":{"format":"","family":"","parameter_size":"","quantization_level":""}}]}"#,
            ),
        ] {
            assert_eq!(list(format, &models), expected);
        }
        assert!(list(Format::Anthropic, &[]).contains(r#""first_id":null"#));
        assert!(one(Format::Ollama, &models[0]).contains(r#""general.context_length":9"#));
        assert!(one(Format::OpenAi, &models[0]).starts_with(r#"{"id":"a\"b""#));
    }

    #[test]
    fn tokens_are_told_in_the_shape_of_each_format() {
        assert_eq!(tokens(Format::Anthropic, 7), r#"{"input_tokens":7}"#);
        assert_eq!(tokens(Format::Gemini, 7), r#"{"totalTokens":7}"#);
        assert_eq!(
            tokens(Format::Responses, 7),
            r#"{"object":"response.input_tokens","input_tokens":7}"#
        );
    }
}

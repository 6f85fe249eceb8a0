//! Complex values: text with `$variables`, compiled once (nginx `ngx_http_complex_value_t`).

use super::variable::{Names, Variable};

/// Text with variables, ready to be evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes that stand as they are.
    Text(Box<[u8]>),
    /// The value of a variable.
    Variable(Variable),
    /// `$1` to `$9`: a group of the last regular expression that matched.
    Capture(u8),
}

/// Why a text is not a template; the offset counts bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// `$` without a name, or `${` without `}`.
    BadName { offset: usize },
    /// No such variable.
    Unknown { offset: usize, name: String },
}

impl Template {
    /// Compiles a text; names are looked up now.
    pub fn parse(text: &str, names: &Names) -> Result<Self, TemplateError> {
        let bytes = text.as_bytes();
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] != b'$' {
                literal.push(bytes[at]);
                at += 1;
                continue;
            }
            let offset = at;
            at += 1;
            let part = if let Some(digit @ b'1'..=b'9') = bytes.get(at) {
                at += 1;
                Part::Capture(digit - b'0')
            } else {
                let braced = bytes.get(at) == Some(&b'{');
                at += usize::from(braced);
                let start = at;
                while bytes
                    .get(at)
                    .is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
                {
                    at += 1;
                }
                let name = &text[start..at];
                if name.is_empty() || (braced && bytes.get(at) != Some(&b'}')) {
                    return Err(TemplateError::BadName { offset });
                }
                at += usize::from(braced);
                match (braced, name.as_bytes()) {
                    (true, [digit @ b'1'..=b'9']) => Part::Capture(digit - b'0'),
                    _ => Part::Variable(names.resolve(name).ok_or_else(|| {
                        TemplateError::Unknown {
                            offset,
                            name: name.to_owned(),
                        }
                    })?),
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self {
            parts: parts.into(),
        })
    }

    /// A template that is just these bytes.
    pub fn from_text(text: &[u8]) -> Self {
        match text {
            [] => Self::default(),
            _ => Self {
                parts: [Part::Text(text.into())].into(),
            },
        }
    }

    /// A template that is one variable.
    pub fn from_variable(variable: Variable) -> Self {
        Self {
            parts: [Part::Variable(variable)].into(),
        }
    }

    /// The pieces in order; no two texts stand next to each other.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The bytes, if no variable stands in it.
    pub fn literal(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Is it the empty text?
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::variable::Core;
    use super::*;

    #[test]
    fn text_variables_braces_and_captures_are_told_apart() {
        let template = Template::parse("a$uri-${scheme}x$1$10", &Names::default()).expect("valid");
        assert_eq!(
            template.parts(),
            [
                Part::Text((*b"a").into()),
                Part::Variable(Variable::Core(Core::Uri)),
                Part::Text((*b"-").into()),
                Part::Variable(Variable::Core(Core::Scheme)),
                Part::Text((*b"x").into()),
                Part::Capture(1),
                Part::Capture(1),
                Part::Text((*b"0").into()),
            ]
        );
    }

    #[test]
    fn a_dollar_without_a_name_and_an_unknown_name_are_refused() {
        let names = Names::default();
        assert_eq!(
            Template::parse("a$", &names),
            Err(TemplateError::BadName { offset: 1 })
        );
        assert_eq!(
            Template::parse("${uri", &names),
            Err(TemplateError::BadName { offset: 0 })
        );
        assert!(matches!(
            Template::parse("$nope", &names),
            Err(TemplateError::Unknown { .. })
        ));
    }
}

//! Media types by the extension of the path.

use smallvec::SmallVec;

use crate::conf::typed::location::Settings;

/// The type of what a path names: that of its extension in `types`, without regard to case, else
/// `default_type`. Empty if there is none to be told.
pub fn media_type<'a>(settings: &'a Settings, path: &[u8]) -> &'a [u8] {
    let types = &settings.types.by_extension;
    let found = extension(path).and_then(|extension| {
        if extension.iter().any(u8::is_ascii_uppercase) {
            let lower: SmallVec<[u8; 32]> = extension.iter().map(u8::to_ascii_lowercase).collect();
            types.get(&lower[..])
        } else {
            types.get(extension)
        }
    });
    found.map_or(&settings.default_type, |media_type| &**media_type)
}

/// What stands behind the last dot of the last segment. As in nginx (`ngx_http_set_exten`), the dot
/// of a hidden file begins no extension.
fn extension(path: &[u8]) -> Option<&[u8]> {
    let dot = path
        .iter()
        .rposition(|&byte| byte == b'.' || byte == b'/')
        .filter(|&position| path[position] == b'.' && position > 1)?;
    let extension = &path[dot + 1..];
    (path[dot - 1] != b'/' && !extension.is_empty()).then_some(extension)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::conf::parser;
    use crate::conf::source::FileId;
    use crate::conf::typed::location::Types;
    use crate::http::fixture;

    /// The table that we bring along, as a configuration includes it.
    fn types() -> HashMap<Box<[u8]>, Arc<[u8]>> {
        let text = include_str!("../../assets/mime.types");
        let (document, problems) = parser::parse(FileId(0), text);
        assert!(problems.is_empty());
        let mut types = HashMap::new();
        for block in document.directives() {
            assert_eq!(block.name.text(text), "types");
            for line in block.block().expect("a block").directives() {
                let media_type: Arc<[u8]> = line.name.text(text).into_bytes().into();
                for extension in &line.arguments {
                    let extension = extension.text(text).into_bytes().into_boxed_slice();
                    assert!(types.insert(extension, Arc::clone(&media_type)).is_none());
                }
            }
        }
        types
    }

    #[test]
    fn the_built_in_table_is_whole_and_can_be_found_in() {
        let types = types();
        assert_eq!(types.len(), 110);
        for (extension, media_type) in &types {
            assert!((extension.iter()).all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')));
            assert!(media_type.contains(&b'/'));
        }
        for (extension, media_type) in [
            ("html", "text/html"),
            ("js", "application/javascript"),
            ("woff2", "font/woff2"),
            ("msi", "application/octet-stream"),
        ] {
            assert_eq!(&*types[extension.as_bytes()], media_type.as_bytes());
        }
    }

    #[test]
    fn the_type_is_that_of_the_last_extension_in_any_case() {
        let mut settings = fixture::settings();
        settings.types = Arc::new(Types {
            by_extension: types(),
        });
        for (path, expected) in [
            ("/a.html", "text/html"),
            ("/A.HTML", "text/html"),
            ("/a.tar.png", "image/png"),
            ("/a.b/c", "text/plain"),
            ("/a.png/", "text/plain"),
            ("/a.", "text/plain"),
            ("/.html", "text/plain"),
            ("/a/.html", "text/plain"),
            ("/a/b.unknown", "text/plain"),
            ("/", "text/plain"),
            ("", "text/plain"),
        ] {
            let found = media_type(&settings, path.as_bytes());
            assert_eq!(found, expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn without_a_default_there_may_be_no_type() {
        let mut settings = fixture::settings();
        settings.default_type = Box::default();
        assert_eq!(media_type(&settings, b"/a.html"), b"");
    }
}

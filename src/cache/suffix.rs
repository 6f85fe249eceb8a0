//! What the end of a path promises of an answer.
//!
//! Whoever sends somebody to `/account/x.css` counts on two programs that see different things in it:
//! the origin an account, with `x.css` behind it that means nothing, and the cache a style sheet,
//! which is the same for all. An answer that a cookie made personal is then everybody's. What the
//! path promises and what came instead tells the two apart.

/// Ends of names of files that are the same for whoever asks, and never pages or data for programs.
const FILES: &[&str] = &[
    "7z", "apk", "avi", "avif", "bin", "bmp", "bz2", "class", "css", "cur", "deb", "dmg", "doc",
    "docx", "ejs", "eot", "eps", "exe", "flac", "gif", "gz", "ico", "iso", "jar", "jpeg", "jpg",
    "js", "jxl", "m4a", "m4v", "mid", "midi", "mjs", "mkv", "mov", "mp3", "mp4", "mpeg", "mpg",
    "msi", "odt", "ogg", "ogv", "otf", "pdf", "pict", "pls", "png", "pps", "ppt", "pptx", "ps",
    "rar", "rpm", "svg", "svgz", "swf", "tar", "tgz", "tif", "tiff", "ttf", "wasm", "wav", "webm",
    "webp", "woff", "woff2", "xls", "xlsx", "xz", "zip", "zst",
];

/// Does a path end like the name of such a file, while the answer is a page or data for a program? A
/// parameter behind the end (`/x.css;a=b`) changes nothing of what it promises.
pub fn is_broken(path: &[u8], content_type: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let name = name.split(|&byte| byte == b';');
    name.clone().any(promises_file) && is_page_or_data(content_type)
}

fn promises_file(name: &[u8]) -> bool {
    let Some(dot) = memchr::memrchr(b'.', name) else {
        return false;
    };
    let end = &name[dot + 1..];
    FILES
        .iter()
        .any(|file| end.eq_ignore_ascii_case(file.as_bytes()))
}

fn is_page_or_data(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    let ends_with = |end: &str| {
        let start = essence.len().saturating_sub(end.len());
        essence[start..].eq_ignore_ascii_case(end.as_bytes())
    };
    is("text/html") || is("application/xhtml+xml") || is("application/json") || ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_the_place_of_a_file_breaks_what_its_path_promises() {
        for path in [
            "/a/x.css",
            "/a.JPG",
            "/a;x.js",
            "/a;b/x.woff2",
            "/x.css;a=b",
            "/a/.css",
            "/a\0.png",
        ] {
            for content_type in [
                "text/html",
                "Text/HTML; charset=utf-8",
                "application/hal+json",
            ] {
                assert!(
                    is_broken(path.as_bytes(), content_type.as_bytes()),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn what_is_as_promised_or_promises_nothing_is_whole() {
        for (path, content_type) in [
            ("/x.css", "text/css"),
            ("/x.css", ""),
            ("/x.js", "text/plain"),
            ("/x.svg", "application/xml"),
            ("/x.html", "text/html"),
            ("/x.json", "application/json"),
            ("/", "text/html"),
            ("/css", "text/html"),
            ("/x.css/", "text/html"),
            ("/v1.2", "application/json"),
            ("/x.css.php", "text/html"),
        ] {
            assert!(
                !is_broken(path.as_bytes(), content_type.as_bytes()),
                "{path}"
            );
        }
    }

    #[test]
    fn the_ends_are_in_order_and_in_lower_case() {
        assert!(FILES.is_sorted());
        assert!(
            FILES
                .iter()
                .all(|end| !end.contains(|letter: char| letter.is_uppercase()))
        );
    }
}

//! `sub_filter`: replacing text in bodies (nginx `ngx_http_sub_filter_module`).
//!
//! Of what could be replaced, that which begins first is; of several at one place, the one written
//! first. Letters of ASCII match in both cases. Invariant: how the text was cut on its way makes no
//! difference. So a few bytes that may be the beginning of a match are kept back, also when all else
//! is flushed: fewer than the longest text that is looked for.

use super::chain::{Ask, Stepped};

/// Texts to look for, and what takes their place.
#[derive(Debug)]
pub struct Substitute {
    pairs: Box<[Pair]>,
    /// `sub_filter_once`: each is replaced once only.
    once: bool,
    /// How many of the texts are still looked for.
    left: usize,
    /// The length of the longest text.
    longest: usize,
    /// Bytes with which one of the texts begins, in both cases.
    first: Box<[bool; 256]>,
    /// The same where they are three at most, which can be looked for quickly.
    few: Option<[u8; 3]>,
    /// The beginning of what may be a match.
    held: Vec<u8>,
}

#[derive(Debug)]
struct Pair {
    /// In lower case; never empty.
    text: Vec<u8>,
    replacement: Vec<u8>,
    /// It was replaced and is not looked for any more.
    is_done: bool,
}

/// What was found in a text.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// The pair of this number, from here on.
    Match(usize, usize),
    /// What might be a match if the text went on, from here on.
    Beginning(usize),
    Nothing,
}

impl Substitute {
    /// Looks for the first of each pair in place of which the second comes; `None` if there is
    /// nothing to look for.
    pub fn new(pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>, once: bool) -> Option<Self> {
        let pairs: Box<[Pair]> = pairs
            .into_iter()
            .filter(|(text, _)| !text.is_empty())
            .map(|(text, replacement)| Pair {
                text: text.to_ascii_lowercase(),
                replacement,
                is_done: false,
            })
            .collect();
        let longest = pairs.iter().map(|pair| pair.text.len()).max()?;
        let mut first = Box::new([false; 256]);
        for pair in &pairs {
            first[usize::from(pair.text[0])] = true;
            first[usize::from(pair.text[0].to_ascii_uppercase())] = true;
        }
        let mut letters = (0..=u8::MAX).filter(|&byte| first[usize::from(byte)]);
        let one = letters.next()?;
        let few = [
            one,
            letters.next().unwrap_or(one),
            letters.next().unwrap_or(one),
        ];
        Some(Self {
            left: pairs.len(),
            few: letters.next().is_none().then_some(few),
            pairs,
            once,
            longest,
            first,
            held: Vec::new(),
        })
    }

    /// See [`super::chain`].
    pub fn step(&mut self, input: &[u8], ask: Ask, output: &mut Vec<u8>) -> Stepped {
        let most = output.capacity();
        let mut at = 0;
        if !self.held.is_empty() {
            // What decides about the bytes held stands in the next few.
            let mut text = std::mem::take(&mut self.held);
            let held = text.len();
            let more = input.len().min(self.longest);
            text.extend_from_slice(&input[..more]);
            let is_end = ask == Ask::End && more == input.len();
            let mut place = 0;
            while place < held {
                match self.find(&text, place, held, is_end) {
                    Found::Nothing => {
                        output.extend_from_slice(&text[place..held]);
                        place = held;
                    }
                    Found::Match(start, pair) => {
                        output.extend_from_slice(&text[place..start]);
                        place = start + self.replace(pair, output);
                    }
                    // So much was read that the text ends here for now.
                    Found::Beginning(start) => {
                        output.extend_from_slice(&text[place..start]);
                        text.drain(..start);
                        self.held = text;
                        return Stepped {
                            consumed: more,
                            is_quiet: true,
                        };
                    }
                }
            }
            at = place - held;
        }
        while at < input.len() {
            let room = most.saturating_sub(output.len());
            if room == 0 {
                return Stepped {
                    consumed: at,
                    is_quiet: false,
                };
            }
            let until = input.len().min(at + room);
            match self.find(input, at, until, ask == Ask::End) {
                Found::Nothing => {
                    output.extend_from_slice(&input[at..until]);
                    at = until;
                }
                Found::Match(start, pair) => {
                    output.extend_from_slice(&input[at..start]);
                    at = start + self.replace(pair, output);
                }
                Found::Beginning(start) => {
                    output.extend_from_slice(&input[at..start]);
                    self.held.extend_from_slice(&input[start..]);
                    at = input.len();
                }
            }
        }
        Stepped {
            consumed: at,
            is_quiet: true,
        }
    }

    /// Writes what takes the place of a text, and tells how long the text is.
    fn replace(&mut self, pair: usize, output: &mut Vec<u8>) -> usize {
        let pair = &mut self.pairs[pair];
        output.extend_from_slice(&pair.replacement);
        if self.once {
            pair.is_done = true;
            self.left -= 1;
        }
        pair.text.len()
    }

    /// The first match that begins in a part of the text. Unless the text ends here, it may begin
    /// and not be seen to end.
    fn find(&self, text: &[u8], from: usize, until: usize, is_end: bool) -> Found {
        let mut place = from;
        while self.left > 0 {
            let rest = &text[place..until];
            let next = match self.few {
                Some([one, two, three]) => memchr::memchr3(one, two, three, rest),
                None => rest.iter().position(|&byte| self.first[usize::from(byte)]),
            };
            let Some(next) = next else {
                break;
            };
            place += next;
            for (number, pair) in self.pairs.iter().enumerate() {
                if pair.is_done {
                    continue;
                }
                let there = &text[place..];
                match there.get(..pair.text.len()) {
                    Some(there) if there.eq_ignore_ascii_case(&pair.text) => {
                        return Found::Match(place, number);
                    }
                    None if !is_end && there.eq_ignore_ascii_case(&pair.text[..there.len()]) => {
                        return Found::Beginning(place);
                    }
                    _ => {}
                }
            }
            place += 1;
        }
        Found::Nothing
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by looking at the whole text at each place.
    fn plainly(text: &[u8], pairs: &[(Vec<u8>, Vec<u8>)], once: bool) -> Vec<u8> {
        let mut done = vec![false; pairs.len()];
        let (mut out, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let found = pairs.iter().enumerate().find(|(number, (look, _))| {
                let there = text.get(at..at + look.len());
                !look.is_empty()
                    && !done[*number]
                    && there.is_some_and(|there| there.eq_ignore_ascii_case(look))
            });
            match found {
                Some((number, (look, replacement))) => {
                    out.extend_from_slice(replacement);
                    at += look.len();
                    done[number] = once;
                }
                None => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// What comes out when the text comes in pieces of these sizes, with room for so many bytes.
    fn in_pieces(
        text: &[u8],
        pairs: &[(Vec<u8>, Vec<u8>)],
        once: bool,
        sizes: &[usize],
        room: usize,
    ) -> Vec<u8> {
        let Some(mut substitute) = Substitute::new(pairs.to_vec(), once) else {
            return text.to_vec();
        };
        let mut out = Vec::new();
        let (mut rest, mut sizes) = (text, sizes.iter().cycle());
        loop {
            let size = sizes.next().copied().unwrap_or(usize::MAX).min(rest.len());
            let ask = match (size == rest.len(), size % 2) {
                (true, _) => Ask::End,
                (false, 0) => Ask::Flush,
                (false, _) => Ask::Nothing,
            };
            let mut piece = &rest[..size];
            rest = &rest[size..];
            loop {
                let mut output = Vec::with_capacity(room);
                let stepped = substitute.step(piece, ask, &mut output);
                assert!(stepped.is_quiet || !output.is_empty() || stepped.consumed > 0);
                out.append(&mut output);
                piece = &piece[stepped.consumed..];
                if stepped.is_quiet {
                    assert!(piece.is_empty());
                    break;
                }
            }
            if ask == Ask::End {
                return out;
            }
        }
    }

    fn pair(text: &str, replacement: &str) -> (Vec<u8>, Vec<u8>) {
        (text.into(), replacement.into())
    }

    #[test]
    fn the_first_match_is_replaced_and_of_several_the_one_written_first() {
        let pairs = [pair("abc", "1"), pair("ab", "2"), pair("B", "3")];
        let of = |text: &str, once| {
            let out = in_pieces(text.as_bytes(), &pairs, once, &[1], 1);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(of("xabcABDbbaab", false), "x12D33a2");
        assert_eq!(of("xabcABDbbaab", true), "x12D3baab");
        assert_eq!(of("", false), "");
        assert!(Substitute::new([pair("", "x")], false).is_none());
    }

    proptest! {
        #[test]
        fn how_the_text_is_cut_makes_no_difference(
            text in "[abAB\u{e9}]{0,40}",
            pairs in prop::collection::vec(("[abB]{0,4}", "[xy]{0,3}"), 1..4),
            once: bool,
            sizes in prop::collection::vec(1..6usize, 1..5),
            room in 1..8usize,
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(text, with)| pair(text, with)).collect();
            let expected = plainly(text.as_bytes(), &pairs, once);
            prop_assert_eq!(in_pieces(text.as_bytes(), &pairs, once, &sizes, room), expected);
        }
    }
}

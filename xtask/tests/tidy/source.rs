//! Reading Rust sources as far as tidy needs it: what is code and what is text or comment, and how long functions are.
//! No rule lives here.

/// The source with comments, strings and characters blanked out, line by line as long as it was.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match token(bytes, at) {
            Token::Code(end) => {
                at = end;
                continue;
            }
            Token::Text(end) => end.min(bytes.len()),
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).expect("whole characters are blanked")
}

/// What begins at a place, and where it ends.
enum Token {
    Code(usize),
    Text(usize),
}

fn token(bytes: &[u8], at: usize) -> Token {
    let rest = &bytes[at..];
    let word = rest.iter().take_while(|b| is_word(**b)).count();
    if word > 0 {
        let raw = matches!(&rest[..word], b"r" | b"br" | b"cr").then(|| raw_string(rest, word)).flatten();
        return raw.map_or(Token::Code(at + word), |length| Token::Text(at + length));
    }
    match rest {
        [b'/', b'/', ..] => Token::Text(at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Token::Text(at + block_comment(rest)),
        [b'"', ..] => Token::Text(at + quoted(rest, b'"')),
        [b'\'', b'\\', ..] => Token::Text(at + quoted(rest, b'\'')),
        [b'\'', ..] => {
            // A character, or the tick of a lifetime.
            let character = std::str::from_utf8(&rest[1..rest.len().min(5)]).map_or_else(
                |cut| std::str::from_utf8(&rest[1..=cut.valid_up_to()]).ok().and_then(|text| text.chars().next()),
                |text| text.chars().next(),
            );
            match character.map(char::len_utf8) {
                Some(length) if rest.get(1 + length) == Some(&b'\'') => Token::Text(at + length + 2),
                _ => Token::Code(at + 1),
            }
        }
        _ => Token::Code(at + 1),
    }
}

fn raw_string(rest: &[u8], prefix: usize) -> Option<usize> {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = prefix + hashes + 1;
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    Some(found.map_or(rest.len(), |length| body + length + end.len()))
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    at
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of its `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from there to its closing brace.
    pub(crate) lines: usize,
}

/// Every function of a file, those within functions too.
pub(crate) fn functions(source: &str) -> Vec<Function> {
    let code = code_only(source);
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(bytes[at - 1]) {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(end) = body_end(bytes, at).filter(|_| !name.is_empty()) else {
            continue;
        };
        let line = 1 + code[..at].matches('\n').count();
        found.push(Function { name, line, lines: 1 + code[at..end].matches('\n').count() });
    }
    found
}

/// Where the body of the function ends whose `fn` is at `at`; `None` if it has none.
fn body_end(code: &[u8], at: usize) -> Option<usize> {
    let (mut brackets, mut braces) = (0_i32, 0_i32);
    for (offset, byte) in code[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' if braces == 1 && brackets == 0 => return Some(at + offset),
            b'}' => braces -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn what_is_no_code_is_blanked_and_lines_stay() {
    let source =
        "let a = \"fn x() {\"; // fn y() {\nlet b: &'static [u8; 2] = br#\"\"{\"#; /* { /* */ { */ '{' '\\'' 'é' c";
    let code = code_only(source);
    assert!(!code.contains('{') && !code.contains("fn") && !code.contains('é'), "{code}");
    assert!(code.contains("&'static [u8; 2] = br") || code.contains("&'static [u8; 2] ="), "{code}");
    assert!(code.ends_with(" c") && code.matches('\n').count() == 1, "{code}");
}

#[test]
fn functions_are_measured_from_their_first_line_to_their_last() {
    let source = "trait T {\n fn none(&self) -> [u8; 2];\n fn a(f: fn(u8) -> u8) {\n  fn b() {}\n }\n}\n";
    let found: Vec<(String, usize, usize)> = functions(source).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(found, [("a".to_owned(), 3, 3), ("b".to_owned(), 4, 1)]);
}

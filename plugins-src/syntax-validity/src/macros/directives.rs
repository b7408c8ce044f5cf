//! Directives, and the conditional parts that are left out.

/// What a line asks for.
enum Directive {
    /// The condition, and whether it holds.
    If(bool),
    Else,
    End,
    Other,
}

/// Stretches of directives and of parts whose condition does not hold. A condition that nothing is known of holds.
pub fn left_out(code: &[u8], is_cpp: bool) -> Vec<(usize, usize)> {
    let mut stretches = Vec::new();
    // Whether the part is kept, and whether one of its alternatives was.
    let mut open: Vec<(bool, bool)> = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let start = at;
        at = line_end(code, at);
        let line = code[start..at].trim_ascii();
        if let Some(rest) = line.strip_prefix(b"#") {
            while code[..at].trim_ascii_end().ends_with(b"\\") && at < code.len() {
                at = line_end(code, at);
            }
            stretches.push((start, at));
            match read(rest.trim_ascii(), is_cpp) {
                Directive::If(holds) => open.push((holds, holds)),
                Directive::Else => {
                    if let Some((is_kept, was_kept)) = open.last_mut() {
                        *is_kept = !*was_kept;
                        *was_kept = true;
                    }
                }
                Directive::End => {
                    open.pop();
                }
                Directive::Other => {}
            }
        } else if open.iter().any(|(is_kept, _)| !is_kept) {
            stretches.push((start, at));
        }
    }
    stretches
}

fn line_end(code: &[u8], at: usize) -> usize {
    let length = code[at..].iter().position(|byte| *byte == b'\n');
    length.map_or(code.len(), |length| at + length + 1)
}

fn read(rest: &[u8], is_cpp: bool) -> Directive {
    let length = rest.iter().take_while(|byte| byte.is_ascii_alphabetic());
    let (word, condition) = rest.split_at(length.count());
    let condition = String::from_utf8_lossy(condition);
    let condition = condition.trim();
    let names_cpp = condition.contains("__cplusplus");
    match word {
        b"ifdef" if condition.contains("__ASSEMBL") => Directive::If(false),
        b"ifdef" => Directive::If(is_cpp || !names_cpp),
        b"ifndef" => Directive::If(!(is_cpp && names_cpp)),
        b"if" => Directive::If(match condition {
            "0" => false,
            _ if condition.contains("__ASSEMBL") => condition.starts_with('!'),
            _ if names_cpp => is_cpp != condition.starts_with('!'),
            _ => true,
        }),
        b"elif" | b"elifdef" | b"elifndef" | b"else" => Directive::Else,
        b"endif" => Directive::End,
        _ => Directive::Other,
    }
}

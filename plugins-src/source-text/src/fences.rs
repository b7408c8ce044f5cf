/// Each fence of three backticks: the language that it names, and what stands in it.
pub fn fences(text: &str) -> Vec<(Option<&str>, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("```") {
        let (tag, body) = after.split_once('\n').unwrap_or((after, ""));
        let (body, after) = match body.strip_prefix("```") {
            Some(after) => ("", after),
            None => body.split_once("\n```").unwrap_or((body, "")),
        };
        let tag = tag.split_whitespace().next();
        found.push((tag, body));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fence_is_found_with_its_language() {
        let text = "Here:\n```rust\nfn f() {}\n```\nand\n```\nx\ny\n```\nopen ```py\nz";
        assert_eq!(
            fences(text),
            [
                (Some("rust"), "fn f() {}"),
                (None, "x\ny"),
                (Some("py"), "z")
            ]
        );
        assert!(fences("no fence").is_empty());
        assert_eq!(fences("```\n```\n"), [(None, "")]);
    }
}

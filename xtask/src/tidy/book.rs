//! The book has each page of the documentation, once, and what links in it lead to.

use std::collections::BTreeSet;

use super::links;
use super::tree::Tree;

const SUMMARY: &str = "docs/SUMMARY.md";

/// Each page below `docs` is in the summary; the rule for links sees to the other direction.
pub(super) fn complete(tree: &Tree) -> Vec<String> {
    let Some(summary) = tree.text(SUMMARY) else {
        return vec![format!("{SUMMARY} is missing")];
    };
    let mut violations = Vec::new();
    let mut listed = BTreeSet::new();
    for (number, line) in links::prose(summary) {
        for target in links::targets(&line) {
            let page = links::resolve(SUMMARY, target).unwrap_or_default();
            if !listed.insert(page) {
                violations.push(format!("{SUMMARY}:{number}: {target} is there twice"));
            }
        }
    }
    let pages = tree.markdown().map(|(path, _)| path);
    let pages = pages.filter(|path| path.starts_with("docs/") && *path != SUMMARY);
    let missing = pages.filter(|path| !listed.contains(*path));
    violations.extend(missing.map(|path| format!("{path} is not in {SUMMARY}")));
    violations
}

/// What follows `#` in a link to a page of ours is one of its headings.
pub(super) fn anchors(tree: &Tree) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, text) in tree.markdown() {
        for (number, line) in links::prose(text) {
            for target in links::targets(&line) {
                let Some((file, anchor)) = target.split_once('#') else {
                    continue;
                };
                if links::is_absolute(target) {
                    continue;
                }
                let page = match file {
                    "" => Some(path.to_owned()),
                    file => links::resolve(path, file),
                };
                let page = page.as_deref().and_then(|page| tree.text(page));
                if page.is_some_and(|page| !headings(page).contains(anchor)) {
                    violations.push(format!("{path}:{number}: {target} names no heading"));
                }
            }
        }
    }
    violations
}

/// The names that GitHub and mdBook give to headings.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = links::prose_with_code(text).filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        line.starts_with('#').then(|| title.trim().to_owned())
    });
    titles
        .map(|title| {
            let kept = title.chars().filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                _ if letter.is_alphanumeric() => Some(letter),
                _ => None,
            });
            kept.flat_map(char::to_lowercase).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_in_the_summary_once() {
        let tree = |summary: &str| {
            complete(&Tree::of(&[
                (SUMMARY, summary),
                ("docs/a.md", ""),
                ("docs/howto/b.md", ""),
                ("README.md", ""),
            ]))
        };
        assert!(tree("- [a](a.md)\n  - [b](howto/b.md)\n").is_empty());
        assert_eq!(tree("- [a](a.md)\n").len(), 1);
        assert_eq!(
            tree("- [a](a.md)\n- [a](a.md)\n- [b](howto/b.md)\n").len(),
            1
        );
    }

    #[test]
    fn anchors_are_headings() {
        let faults = |text: &str| {
            anchors(&Tree::of(&[
                ("docs/a.md", text),
                (
                    "docs/b.md",
                    "# TLS and HTTP/2\n\n```sh\n# no heading\n```\n## `connect(options)`\n",
                ),
            ]))
        };
        assert!(faults("[b](b.md#tls-and-http2) [c](b.md#connectoptions)").is_empty());
        assert!(faults("# Own part\n[here](#own-part)").is_empty());
        assert_eq!(faults("[b](b.md#no-heading) [x](#gone)").len(), 2);
    }
}

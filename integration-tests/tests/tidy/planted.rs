//! The planted bugs as `tidy` sees them: each says which rule it breaks, changes product code alone, and still applies. That
//! the simulation finds them is for `make planted` to show.

use crate::tree::{read, tree};

const FOLDER: &str = "integration-tests/planted/";

/// What is wrong with planted bugs.
pub(crate) fn faults() -> Vec<String> {
    let patches = tree(&["patch"]).into_iter().filter(|file| file.path.starts_with(FOLDER));
    let mut faults = Vec::new();
    for patch in patches {
        let mut fault = |what: &str| faults.push(format!("{}: {what}", patch.path));
        let mut lines = patch.text.lines();
        for word in ["Rule: ", "Stated: "] {
            if lines.next().and_then(|line| line.strip_prefix(word)).is_none_or(str::is_empty) {
                fault(&format!("has no {word:?} line where it belongs; name the rule it breaks"));
            }
        }
        let hunks = hunks(&patch.text);
        if hunks.is_empty() {
            fault("changes nothing");
        }
        for (path, old) in hunks {
            let of_tests = path.starts_with("integration-tests/") || path.contains("/memory");
            if of_tests || path.contains("/tests") {
                fault(&format!("changes {path}, which is no product code"));
            }
            if !read(&path).contains(&old) {
                fault(&format!(
                    "does not apply to {path} any more; make it anew from today's code"
                ));
            }
        }
    }
    faults
}

/// Of each hunk the file and the lines that it expects there.
fn hunks(patch: &str) -> Vec<(String, String)> {
    let mut hunks: Vec<(String, String)> = Vec::new();
    let mut path = None;
    for line in patch.lines() {
        if let Some(named) = line.strip_prefix("--- a/") {
            path = Some(named.to_owned());
        } else if line.starts_with("@@ ") {
            hunks.extend(path.clone().map(|path| (path, String::new())));
        } else if let Some((_, old)) = hunks.last_mut().filter(|_| !line.starts_with("+++ b/"))
            && let Some(kept) = line.strip_prefix([' ', '-'])
        {
            old.push_str(kept);
            old.push('\n');
        }
    }
    hunks
}

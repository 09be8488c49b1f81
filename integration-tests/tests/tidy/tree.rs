//! The tree as `tidy` sees it: files as text, packages and what they depend on. It judges nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file of ours.
pub(crate) struct File {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines that are neither comment nor below the first `#[cfg(test)]` module.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        let last = self.text[..end].lines().count();
        self.lines().take(last).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.starts_with("integration-tests/")
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}; the file is needed"))
}

pub(crate) fn rust() -> Vec<File> {
    tree(&["rs"])
}

/// Every text file with one of these endings, without what is built, downloaded, recorded or hidden.
pub(crate) fn tree(endings: &[&str]) -> Vec<File> {
    let mut files = Vec::new();
    let mut waiting: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && name != ".ci";
            if path.is_dir() {
                if !hidden && !name.starts_with("target") && name != "__pycache__" {
                    waiting.push(path);
                }
                continue;
            }
            let ending = name.rsplit('.').next().unwrap_or_default();
            if hidden || !endings.contains(&ending) {
                continue;
            }
            // A file that vanishes meanwhile, such as an editor's, is none of the tree.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

pub(crate) fn folders(path: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join(path))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Folders of the workspace's packages.
pub(crate) fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let list =
        manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Section and name of every dependency of a package.
pub(crate) fn dependencies(member: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in read(&format!("{member}/Cargo.toml")).lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies")
            && let Some(name) = line
                .split(['.', '=', ' '])
                .next()
                .filter(|name| !name.is_empty() && !name.starts_with('#'))
        {
            found.push((section.clone(), name.to_owned()));
        }
    }
    found
}

/// The short name of a package of ours.
pub(crate) fn own_name(dependency: &str) -> Option<&str> {
    if dependency == "signalbox" { Some(dependency) } else { dependency.strip_prefix("signalbox-") }
}

pub(crate) fn find<T: Copy>(table: &[(&str, T)], key: &str) -> Option<T> {
    let table: BTreeMap<&str, T> = table.iter().copied().collect();
    table.get(key).copied()
}

/// Whether a line has a word that begins with the vendor's name, however it is capitalised.
pub(crate) fn names(line: &str, vendor: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower
        .match_indices(vendor)
        .any(|(at, _)| !lower[..at].ends_with(|before: char| before.is_ascii_alphabetic()))
}

/// Names of all tests in a text: functions that are marked as such, and stories told on real parts.
pub(crate) fn tests(text: &str) -> Vec<String> {
    let marked = ["#[test]", "#[tokio::test"].into_iter().flat_map(|mark| text.split(mark).skip(1));
    let functions = marked.filter_map(|rest| rest.split("fn ").nth(1)?.split(['(', '<']).next());
    let stories = text
        .split("Story {")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix("name: \"")?.split('"').next());
    functions.chain(stories).map(str::to_owned).collect()
}

pub(crate) fn report(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

//! One Debian package: its tree, its control files, and `dpkg-deb`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A file of a package.
pub struct Content {
    /// Where it lies.
    pub from: PathBuf,
    /// Where it goes.
    pub to: String,
    /// Its permissions.
    pub mode: u32,
}

/// A package.
#[derive(Default)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// What it needs beside the libraries that its binaries are linked to.
    pub depends: Vec<String>,
    /// Binaries, with the section of their manual pages.
    pub binaries: Vec<(PathBuf, &'static str)>,
    /// Other files.
    pub content: Vec<Content>,
    /// What is done when it was unpacked.
    pub after: &'static str,
    /// The unit that is stopped before it is removed.
    pub stops: Option<&'static str>,
}

const MAINTAINER: &str = "The Redoubt authors <redoubt@localhost>";
const HEAD: &str = "#!/bin/sh\nset -e\n";

impl Package {
    /// Builds it into `out`; gives its path.
    pub fn build(&self, version: &str, out: &Path) -> Result<PathBuf> {
        let tree = out.join(format!(".{}", self.name));
        let _absent = fs::remove_dir_all(&tree);
        let built = self.fill(&tree, version).and_then(|()| self.pack(&tree, version, out));
        fs::remove_dir_all(&tree).with_context(|| tree.display().to_string())?;
        built
    }

    fn fill(&self, tree: &Path, version: &str) -> Result<()> {
        for Content { from, to, mode } in &self.content {
            put(tree, to, &fs::read(from).with_context(|| from.display().to_string())?, *mode)?;
        }
        for (binary, section) in &self.binaries {
            let name = binary.file_name().context("a binary has a name")?.to_string_lossy().into_owned();
            let to = tree.join("usr/bin").join(&name);
            fs::create_dir_all(tree.join("usr/bin"))?;
            run(Command::new("strip").args(["--strip-unneeded", "-o"]).arg(&to).arg(binary))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
            pages(tree, binary, &name, section)?;
        }
        put(tree, &format!("usr/share/doc/{}/copyright", self.name), b"Redoubt is under the Apache License, version 2.0.\n", 0o644)?;
        self.control(tree, version)
    }

    fn control(&self, tree: &Path, version: &str) -> Result<()> {
        let mut depends: Vec<String> = self.depends.iter().map(|text| text.replace("${version}", version)).collect();
        depends.extend(libraries(tree, &self.binaries)?);
        depends.sort();
        depends.dedup();
        let kibibytes = size(&tree.join("usr"))?.div_ceil(1024);
        let control = format!(
            "Package: {}\nVersion: {version}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {kibibytes}\nDepends: {}\nSection: admin\nPriority: optional\nDescription: {}\n",
            self.name,
            run(Command::new("dpkg").arg("--print-architecture"))?.trim(),
            depends.join(", "),
            self.about,
        );
        put(tree, "DEBIAN/control", control.as_bytes(), 0o644)?;
        put(tree, "DEBIAN/postinst", format!("{HEAD}{}", self.after).as_bytes(), 0o755)?;
        if let Some(unit) = self.stops {
            let before = format!("{HEAD}if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n    systemctl stop {unit}\nfi\n");
            put(tree, "DEBIAN/prerm", before.as_bytes(), 0o755)?;
            let after = format!("{HEAD}if [ -d /run/systemd/system ]; then\n    systemctl daemon-reload\nfi\n");
            put(tree, "DEBIAN/postrm", after.as_bytes(), 0o755)?;
        }
        Ok(())
    }

    fn pack(&self, tree: &Path, version: &str, out: &Path) -> Result<PathBuf> {
        let architecture = run(Command::new("dpkg").arg("--print-architecture"))?;
        let path = out.join(format!("{}_{version}_{}.deb", self.name, architecture.trim()));
        run(Command::new("dpkg-deb").args(["--root-owner-group", "-Zxz", "-z1", "--build"]).arg(tree).arg(&path))?;
        Ok(path)
    }
}

/// Manual pages and completions, as the binary itself writes them.
fn pages(tree: &Path, binary: &Path, name: &str, section: &str) -> Result<()> {
    let made = tree.join("pages");
    run(Command::new(binary).arg("--pages").arg(&made))?;
    for page in fs::read_dir(made.join("man"))? {
        let page = page?.path();
        run(Command::new("gzip").arg("-9n").arg(&page))?;
        let packed = format!("{}.gz", page.file_name().context("a page has a name")?.to_string_lossy());
        put(tree, &format!("usr/share/man/man{section}/{packed}"), &fs::read(page.with_file_name(&packed))?, 0o644)?;
    }
    for (from, to) in [
        (format!("{name}.bash"), format!("usr/share/bash-completion/completions/{name}")),
        (format!("_{name}"), format!("usr/share/zsh/vendor-completions/_{name}")),
        (format!("{name}.fish"), format!("usr/share/fish/vendor_completions.d/{name}.fish")),
    ] {
        put(tree, &to, &fs::read(made.join("completions").join(from))?, 0o644)?;
    }
    fs::remove_dir_all(&made).map_err(Into::into)
}

/// The packages of the libraries that the binaries are linked to.
fn libraries(tree: &Path, binaries: &[(PathBuf, &str)]) -> Result<Vec<String>> {
    if binaries.is_empty() {
        return Ok(Vec::new());
    }
    // The tool wants to be called in a source package.
    let source = tree.join("source");
    put(&source, "debian/control", b"Source: redoubt\n\nPackage: redoubt\nArchitecture: any\n", 0o644)?;
    let mut command = Command::new("dpkg-shlibdeps");
    command.current_dir(&source).arg("-O");
    for (binary, _) in binaries {
        command.arg(fs::canonicalize(binary)?);
    }
    let printed = run(&mut command)?;
    fs::remove_dir_all(&source)?;
    let list = printed.lines().find_map(|line| line.strip_prefix("shlibs:Depends=")).context("dpkg-shlibdeps names no library")?;
    Ok(list.split(',').map(|text| text.trim().to_string()).collect())
}

fn put(tree: &Path, to: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let path = tree.join(to);
    fs::create_dir_all(path.parent().context("a file in a directory")?)?;
    fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).with_context(|| path.display().to_string())
}

fn size(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().with_context(|| format!("{name} (`scripts/setup` installs what is needed)"))?;
    if !out.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

//! `ha ca`: the cluster's certificate authority, kept where its operator keeps it. Nothing of it is asked of HA, and no host needs its key.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{Datelike, Days, Utc};
use ha_api::tls::{DOMAIN, Role, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::output::{Format, show};

/// How the authority calls itself; clusters differ by its key.
const NAME: &str = "Redoubt cluster CA";
/// How long the authority is good for.
const CA_DAYS: u64 = 3650;
/// The authority's files in its directory.
const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key.pem";

/// Verbs on the authority.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Makes an authority; one that is there stays as it is
    Create {
        /// Where it is kept: keep it safe
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
    },
    /// Makes a key and a certificate
    Issue(Issue),
}

/// Arguments of `ca issue`.
#[derive(clap::Args)]
pub struct Issue {
    /// Where the authority is kept
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// What the holder is: ha, node, client or operator; or s3, a gateway as clients of S3 see it
    #[arg(long, value_parser = holder)]
    role: Holder,
    /// A name or an address of a gateway, as clients of S3 call it; may be given several times
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Who the holder is, as node-1
    #[arg(long)]
    name: String,
    /// Where certificate, key and the authority's certificate go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// For how long it is good
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Replace what is there
    #[arg(long)]
    replace: bool,
}

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Somebody of the cluster.
    Role(Role),
    /// A gateway of S3. To HA it is nobody: it does not even pass for a client.
    S3,
}

fn holder(text: &str) -> Result<Holder, String> {
    let named = Role::named(text).map(Holder::Role).or_else(|| (text == "s3").then_some(Holder::S3));
    named.ok_or_else(|| format!("there are {}, s3", Role::ALL.map(Role::word).join(", ")))
}

/// Runs a verb.
pub fn run(format: Format, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create { authority } => create(format, authority),
        Verb::Issue(issue) => issue.run(format),
    }
}

/// Whether a name is one that holders of roles have, or could be taken for one.
fn is_of_the_cluster(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == DOMAIN || host.strip_suffix(DOMAIN).is_some_and(|before| before.ends_with('.'))
}

fn failed(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failure, format!("{what}: {error}"))
}

/// Good from yesterday, for clocks are not all the same.
fn term(params: &mut CertificateParams, days: u64) {
    let day = |at: chrono::DateTime<Utc>| date_time_ymd(at.year(), at.month() as u8, at.day() as u8);
    let now = Utc::now();
    params.not_before = day(now - Days::new(1));
    params.not_after = day(now + Days::new(days));
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    term(&mut params, CA_DAYS);
    params
}

fn create(format: Format, dir: &Path) -> Result<(), Failure> {
    let (file, key_file) = (dir.join(CA_FILE), dir.join(CA_KEY_FILE));
    let is_new = !file.exists();
    if is_new {
        fs::create_dir_all(dir).map_err(|e| failed(dir.display(), e))?;
        let key = KeyPair::generate().map_err(|e| failed("a key", e))?;
        let certificate = authority_params().self_signed(&key).map_err(|e| failed("the authority", e))?;
        // The key is never overwritten: all certificates hang on it. The certificate comes last, and says that all is there.
        write(&key_file, &key.serialize_pem(), 0o600, false)?;
        write(&file, &certificate.pem(), 0o644, true)?;
    }
    show(format, &json!({"authority": dir, "created": is_new}), |_| {
        format!("{} the authority in {}", if is_new { "made" } else { "there was already" }, dir.display())
    })
}

impl Issue {
    fn run(&self, format: Format) -> Result<(), Failure> {
        let is_name = |text: &str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_name(&self.name) {
            return Err(Failure::new(Exit::Usage, "a name has 1 to 64 printable characters without spaces"));
        }
        if (self.role == Holder::S3) == self.hosts.is_empty() {
            return Err(Failure::new(
                Exit::Usage,
                "the certificate of a gateway (--role s3) says how clients call it (--host), and no other does",
            ));
        }
        if let Some(host) = self.hosts.iter().find(|host| is_of_the_cluster(host)) {
            return Err(Failure::new(
                Exit::Usage,
                format!("{host} is a name by which the cluster's own servers are known: no gateway has such a one"),
            ));
        }
        let files = Tls::in_dir(&self.out);
        let is_new = self.replace || !files.certificate.exists();
        if is_new {
            self.issue(&files)?;
        }
        let value = json!({"ca": files.ca, "certificate": files.certificate, "key": files.key, "created": is_new});
        show(format, &value, |_| {
            let what = if is_new { "made" } else { "there was already (--replace makes another)" };
            format!("{what}: {}", files.certificate.display())
        })
    }

    fn issue(&self, files: &Tls) -> Result<(), Failure> {
        if !self.authority.join(CA_FILE).exists() {
            let dir = self.authority.display();
            return Err(Failure::new(Exit::NotFound, format!("no authority in {dir}: `ha ca create --authority {dir}` makes one")));
        }
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(|e| failed(path.display(), e));
        let (ca, ca_key) = (read(self.authority.join(CA_FILE))?, read(self.authority.join(CA_KEY_FILE))?);
        let ca_key = KeyPair::from_pem(&ca_key).map_err(|e| failed(self.authority.join(CA_KEY_FILE).display(), e))?;
        let issuer = Issuer::new(authority_params(), ca_key);
        let key = KeyPair::generate().map_err(|e| failed("a key", e))?;
        let (names, usages) = match self.role {
            Holder::Role(role) => (vec![role.name()], vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]),
            Holder::S3 => (self.hosts.clone(), vec![ExtendedKeyUsagePurpose::ServerAuth]),
        };
        let mut params = CertificateParams::new(names).map_err(|e| failed("the names", e))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        term(&mut params, self.days);
        let certificate = params.signed_by(&key, &issuer).map_err(|e| failed("the certificate", e))?;
        fs::create_dir_all(&self.out).map_err(|e| failed(self.out.display(), e))?;
        write(&files.ca, &ca, 0o644, true)?;
        write(&files.key, &key.serialize_pem(), 0o600, true)?;
        write(&files.certificate, &certificate.pem(), 0o644, true)
    }
}

/// Writes a file whole or not at all; one that is there only where it may be replaced.
fn write(path: &Path, text: &str, mode: u32, replace: bool) -> Result<(), Failure> {
    let of = |e: std::io::Error| failed(path.display(), e);
    if !replace && path.exists() {
        return Err(Failure::new(Exit::Failure, format!("{} is there already, and is not overwritten", path.display())));
    }
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).map_err(of)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(of)?;
    fs::rename(&beside, path).map_err(of)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn issue(dir: &Path, authority: &str, name: &str, days: u64, replace: bool) -> Result<Tls, Failure> {
        let out = dir.join(name);
        let issue = Issue {
            authority: dir.join(authority),
            role: Holder::Role(Role::Node),
            hosts: Vec::new(),
            name: name.into(),
            out: out.clone(),
            days,
            replace,
        };
        run(Format::Json, &Verb::Issue(issue)).map(|()| Tls::in_dir(&out))
    }

    #[test]
    fn certificates_are_good_for_their_days_and_keys_are_their_owners_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        run(Format::Json, &Verb::Create { authority: dir.path().join("ca") }).expect("an authority");
        let tls = issue(dir.path(), "ca", "node-1", 30, false).expect("a certificate");
        assert_eq!(tls.check(), Ok(()));
        let good_for = tls.good_for().expect("it is taken");
        assert!(good_for > 29 * DAY && good_for <= 30 * DAY, "{good_for:?}");
        for key in [dir.path().join("ca/ca.key.pem"), tls.key.clone()] {
            assert_eq!(fs::metadata(&key).expect("it is there").permissions().mode() & 0o777, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn what_is_there_stays_unless_it_is_to_be_replaced_and_an_authority_always() {
        let dir = tempfile::tempdir().expect("a directory");
        let create = || run(Format::Json, &Verb::Create { authority: dir.path().join("ca") });
        let text = |path: &Path| fs::read_to_string(path).expect("a file");
        create().expect("an authority");
        let key = text(&dir.path().join("ca/ca.key.pem"));
        create().expect("it is there");
        assert_eq!(text(&dir.path().join("ca/ca.key.pem")), key);
        let tls = issue(dir.path(), "ca", "node-1", 30, false).expect("a certificate");
        let first = text(&tls.certificate);
        issue(dir.path(), "ca", "node-1", 30, false).expect("it is there");
        assert_eq!(text(&tls.certificate), first);
        issue(dir.path(), "ca", "node-1", 30, true).expect("another");
        assert_ne!(text(&tls.certificate), first);
        assert_eq!(tls.check(), Ok(()));
        // Where the certificate is lost the key is not overwritten.
        fs::remove_file(dir.path().join("ca/ca.pem")).expect("it was there");
        assert!(create().expect_err("a key without its certificate").message.contains("not overwritten"));
    }

    #[test]
    fn the_certificate_of_a_gateway_is_for_its_hosts_and_passes_for_nobody_of_the_cluster() {
        let dir = tempfile::tempdir().expect("a directory");
        run(Format::Json, &Verb::Create { authority: dir.path().join("ca") }).expect("an authority");
        let of = |role: Holder, hosts: &[&str], out: &str| {
            let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            let out = dir.path().join(out);
            let issue =
                Issue { authority: dir.path().join("ca"), role, hosts, name: "node-1".into(), out: out.clone(), days: 30, replace: false };
            run(Format::Json, &Verb::Issue(issue)).map(|()| Tls::in_dir(&out))
        };
        let tls = of(Holder::S3, &["127.0.0.1", "s3.example.com"], "s3").expect("a certificate");
        let wrong = tls.check().expect_err("it is no client's");
        assert!(wrong.contains("certificate.pem"), "{wrong}");
        for (role, hosts) in [(Holder::S3, &[][..]), (Holder::Role(Role::Node), &["127.0.0.1"][..])] {
            assert_eq!(of(role, hosts, "none").expect_err("one without the other").exit, Exit::Usage);
        }
        for host in ["ha.redoubt.internal", "HA.Redoubt.Internal.", "*.redoubt.internal", "redoubt.internal"] {
            let refused = of(Holder::S3, &["s3.example.com", host], "none").expect_err(host);
            assert!(refused.exit == Exit::Usage && refused.message.contains(host), "{}", refused.message);
        }
        of(Holder::S3, &["notredoubt.internal"], "another").expect("it is somebody else's name");
        assert!(holder("s3") == Ok(Holder::S3) && holder("ha") == Ok(Holder::Role(Role::Ha)) && holder("S3").is_err());
    }

    #[test]
    fn what_no_other_would_take_is_one_clear_error() {
        let dir = tempfile::tempdir().expect("a directory");
        for authority in ["ca", "another"] {
            run(Format::Json, &Verb::Create { authority: dir.path().join(authority) }).expect("an authority");
        }
        let (tls, other) = (issue(dir.path(), "ca", "a", 30, false), issue(dir.path(), "another", "b", 30, false));
        let (tls, other) = (tls.expect("a certificate"), other.expect("a certificate"));
        let stranger = Tls { ca: other.ca.clone(), ..tls.clone() };
        assert!(stranger.check().expect_err("of another authority").contains("certificate.pem"));
        let mixed = Tls { key: other.key, ..tls.clone() };
        assert!(mixed.check().expect_err("another's key").contains("key.pem"));
        assert!(Tls { ca: dir.path().join("none"), ..tls }.check().expect_err("no file").contains("none"));
        let unnamed = issue(dir.path(), "ca", "two words", 30, false).expect_err("no name");
        assert_eq!(unnamed.exit, Exit::Usage);
    }
}

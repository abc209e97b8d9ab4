//! The programs of this workspace, run as processes of their own.
//!
//! No test builds a program. Cargo builds the programs of a package for its integration tests, and each package with a
//! program has one (`tests/program.rs`). They are two folders above the executable of the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::any;
use http::{Request, Response};
use http_body_util::BodyExt;
use local::Cloud;
use tokio::net::TcpListener;

/// Returns the path of the program `name`.
///
/// # Panics
///
/// If the program is missing, or older than one of its sources. The message says how to build it.
pub fn program(name: &str) -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let folder = executable.ancestors().nth(2).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    match find(root, folder, name) {
        Ok(program) => program,
        Err(reason) => panic!(
            "{reason} Build it with `cargo build --workspace --bins`, or run `cargo test --workspace`."
        ),
    }
}

/// Looks for a program of the workspace `root` in the folder of a Cargo profile, such as `target/debug`.
fn find(root: &Path, folder: &Path, name: &str) -> Result<PathBuf, String> {
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let Some(built) = modified(&program) else {
        return Err(format!("The program {} is missing.", program.display()));
    };
    for source in sources(root, &folder.join("deps"), name, built) {
        // Lists of earlier builds name files that are gone by now.
        if modified(&source).is_some_and(|changed| changed > built) {
            return Err(format!(
                "The program {} is older than its source {}.",
                program.display(),
                source.display()
            ));
        }
    }
    Ok(program)
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|file| file.modified()).ok()
}

/// Returns the sources of a program that was built at a time, with those of the libraries of this workspace that it uses.
///
/// For each crate that it compiles, the compiler writes a file `{crate}-{hash}.d` with a line `{output}: {source} {source} …`.
/// The files of checks and unit tests, which have other outputs, do not count.
fn sources(root: &Path, deps: &Path, name: &str, built: SystemTime) -> Vec<PathBuf> {
    let mut used = BTreeSet::new();
    add_used(name, &packages(root), &mut used);
    let mut sources = vec![];
    for entry in fs::read_dir(deps).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy();
        let of_package = stem
            .rsplit_once('-')
            .is_some_and(|(name, _)| used.contains(name));
        if !of_package || path.extension().is_none_or(|extension| extension != "d") {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some((output, list)) = line.split_once(": ") else {
                continue;
            };
            // The program beside the tests is a link to one of these outputs.
            if output.ends_with(".rlib") || modified(Path::new(output)) == Some(built) {
                // A backslash stands before a space within a path.
                let list = list.replace("\\ ", "\0");
                let paths = list.split(' ').filter(|path| !path.is_empty());
                sources.extend(paths.map(|path| root.join(path.replace('\0', " "))));
            }
        }
    }
    sources
}

/// Returns the packages of the workspace by their names, with their manifests.
fn packages(root: &Path) -> BTreeMap<String, String> {
    let folders = ["functions", "shared", "infra"];
    let folders = folders
        .into_iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    folders
        .filter_map(|folder| fs::read_to_string(folder.unwrap().path().join("Cargo.toml")).ok())
        .filter_map(|manifest| {
            let name = manifest
                .lines()
                .find_map(|line| line.strip_prefix("name = "));
            Some((name?.trim_matches('"').to_owned(), manifest))
        })
        .collect()
}

/// Adds a package and the packages of the workspace that it depends on.
fn add_used(name: &str, packages: &BTreeMap<String, String>, used: &mut BTreeSet<String>) {
    let Some(manifest) = packages.get(name) else {
        return;
    };
    if used.insert(name.to_owned()) {
        let names = manifest
            .lines()
            .filter_map(|line| line.strip_suffix(".workspace = true"));
        names.for_each(|name| add_used(name, packages, used));
    }
}

#[test]
fn a_program_that_is_missing_or_older_than_its_sources_is_not_run() {
    let root = std::env::temp_dir().join(format!("rollcall-program {}", std::process::id()));
    let write = |name: &str, text: &str, second: u64| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    let program = format!("debug/users{}", std::env::consts::EXE_SUFFIX);
    let find = || find(&root, &root.join("debug"), "users");
    let reason = || find().unwrap_err();
    for (folder, name, uses) in [
        ("functions/users", "users", "scim.workspace = true"),
        ("functions/groups", "groups", "scim.workspace = true"),
        ("shared/scim", "scim", ""),
        ("infra/local", "local", "users.workspace = true"),
    ] {
        let manifest = format!("[package]\nname = \"{name}\"\n[dependencies]\n{uses}\n");
        write(&format!("{folder}/Cargo.toml"), &manifest, 9);
    }
    assert!(reason().ends_with("is missing."), "{}", reason());

    write(&program, "", 2);
    write("debug/deps/users-1", "", 2);
    let output = root.join("debug/deps/users-1").display().to_string();
    write(
        "debug/deps/users-1.d",
        &format!("{output}: users/main.rs\n"),
        1,
    );
    let list = "debug/deps/libscim-1.rmeta: a.rs\n\ndebug/deps/libscim-1.rlib: scim/a\\ b.rs scim/gone.rs\n";
    write("debug/deps/scim-1.d", list, 1);
    write(
        "debug/deps/scim-2.d",
        "debug/deps/scim-2: scim/tests.rs\n",
        1,
    );
    write(
        "debug/deps/groups-1.d",
        "debug/deps/libgroups-1.rlib: groups/lib.rs\n",
        1,
    );
    write("users/main.rs", "", 2);
    write("scim/a b.rs", "", 1);
    // What is only in unit tests, and what is in another program.
    write("scim/tests.rs", "", 3);
    write("groups/lib.rs", "", 3);
    assert_eq!(find(), Ok(root.join(&program)));

    write("scim/a b.rs", "", 3);
    assert!(reason().ends_with("a b.rs."), "{}", reason());
    write("scim/a b.rs", "", 1);
    write("users/main.rs", "", 3);
    assert!(
        reason().contains("is older than its source"),
        "{}",
        reason()
    );
    fs::remove_dir_all(&root).unwrap();
}

/// Serves an AWS account over HTTP to the SDKs of other processes.
pub async fn serve(cloud: &Cloud) -> SocketAddr {
    async fn answer(State(cloud): State<Cloud>, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        cloud
            .answer(Request::from_parts(head, body))
            .await
            .map(Body::from)
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Router::new()
        .route("/", any(answer))
        .with_state(cloud.clone());
    tokio::spawn(async move { axum::serve(listener, server).await });
    address
}

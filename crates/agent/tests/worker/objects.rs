//! Inputs and outputs in a real S3 server, and what is said where it does not do as it is told.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fuxi::protocol::{AttemptResult, Exit, FromMaster, LISTING, Program, Span, Store};
use model::dagjob::{Input, Mode, Objects};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::s3::{KEY, S3, SECRET};
use super::scene::{Scene, program};

fn at(s3: &S3, url: &str) -> Objects {
    Objects {
        url: url.to_owned(),
        endpoint: Some(format!("http://127.0.0.1:{}", s3.port)),
        allow_http: true,
        credentials: Some("s3".to_owned()),
        ..Objects::default()
    }
}

/// A worker with the Secret of a store.
fn open(key: &str, secret: &str) -> Scene {
    let (scene, _) = Scene::open();
    let folder = scene.folder.path().join("secret");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("AWS_ACCESS_KEY_ID"), key).unwrap();
    fs::write(folder.join("AWS_SECRET_ACCESS_KEY"), secret).unwrap();
    scene
}

fn store(scene: &Scene, objects: Objects) -> Box<Store> {
    let secret = objects.credentials.is_some().then(|| scene.folder.path().join("secret"));
    Box::new(Store { objects, secret, files: scene.folder.path().join("files") })
}

fn script(scene: &Scene, script: &str) -> Program {
    let root = scene.folder.path().to_str().unwrap();
    program(Mode::Exec, &["/bin/sh", "-c", script, "sh", root], Some(20))
}

fn lines(result: &AttemptResult) -> Vec<String> {
    let Exit::Listed { list } = &result.exit else { panic!("expected a list, got {result:?}") };
    let text = zstd::decode_all(&*STANDARD.decode(list).unwrap()).unwrap();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// The list of `objects`, as the worker takes it.
fn list(scene: &mut Scene, objects: Objects, number: u32) -> AttemptResult {
    let input = Input { objects: Some(objects.clone()), ..Input::default() };
    let input_store = Some(store(scene, objects));
    let program = Program { list: Some(Box::new(input)), input_store, count: 0, ..script(scene, "true") };
    scene.send(&FromMaster::Program(program));
    give(scene, LISTING, number, Vec::new());
    scene.result()
}

fn give(scene: &mut Scene, index: u32, number: u32, inputs: Vec<String>) {
    let attempts = vec![Span { first: index, last: index, number }];
    scene.send(&FromMaster::Assign { attempts, inputs });
}

fn keys(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split_once(' ').unwrap().1).collect()
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn objects_are_listed_fetched_and_put() {
    let (s3, mut scene) = (S3::start("127.0.0.1"), open(KEY, SECRET));
    for (key, text) in
        [("in/b.csv", "bb"), ("in/a.csv", "a"), ("in/deep/c.csv", "ccc"), ("in/.crest-x/d.csv", "d")]
    {
        s3.write(key, text);
    }
    for (number, url, expected) in [
        (1, "s3://data/in/", vec!["in/a.csv", "in/b.csv", "in/deep/c.csv"]),
        (2, "s3://data/in", vec!["in/a.csv", "in/b.csv", "in/deep/c.csv"]),
        (3, "s3://data/in/*.csv", vec!["in/a.csv", "in/b.csv"]),
        (4, "s3://data/*/**/c.*", vec!["in/deep/c.csv"]),
        (5, "s3://data/in/a.csv", vec!["in/a.csv"]),
        (6, "s3://data/", vec!["in/a.csv", "in/b.csv", "in/deep/c.csv"]),
        (7, "s3://data/in/*.parquet", vec![]),
    ] {
        let listed = list(&mut scene, at(&s3, url), number);
        assert_eq!(keys(&lines(&listed)), expected, "{url}");
    }

    let listed = lines(&list(&mut scene, at(&s3, "s3://data/in/*.csv"), 8));
    let text = "echo $CREST_INPUT_URL > $CREST_OUTPUT; for file in $CREST_INPUT; do cat $file; done >> $CREST_OUTPUT; \
                echo \"$CREST_INPUT\" > $1/seen";
    let (input_store, output_store) =
        (Some(store(&scene, at(&s3, "s3://data/in/*.csv"))), Some(store(&scene, at(&s3, "s3://data/out"))));
    let program = Program { input_store, output_store, ..script(&scene, text) };
    scene.send(&FromMaster::Program(program));
    give(&mut scene, 0, 1, vec![listed.join("\n")]);
    let result = scene.result();
    assert_eq!(result.exit, Exit::Code(0), "{result:?}");
    assert!(result.usage.is_some());
    assert_eq!(scene.commands, [(0, true), (0, false)], "it runs between its objects' coming and going");
    assert_eq!(s3.read("out/0"), "s3://data/in/a.csv s3://data/in/b.csv\nabb");
    let seen = scene.read("seen");
    let files = scene.folder.path().join("files");
    assert!(seen.lines().all(|line| Path::new(line).starts_with(&files)), "{seen}");
    assert!(seen.contains("/input/0/a.csv\n") && seen.contains("/input/1/b.csv\n"), "{seen}");
    assert_eq!(names(&files), [""; 0], "what is fetched goes with its instance");

    // A large one goes in parts, and replaces the first as a whole.
    let program = Program {
        output_store: Some(store(&scene, at(&s3, "s3://data/out/"))),
        ..script(&scene, "head -c 20000000 /dev/zero > $CREST_OUTPUT")
    };
    scene.send(&FromMaster::Program(program));
    give(&mut scene, 0, 2, Vec::new());
    assert_eq!(scene.result().exit, Exit::Code(0));
    assert_eq!(fs::metadata(s3.path("out/0")).unwrap().len(), 20_000_000);
}

/// Of what does not match nothing is kept, however much there is of it.
pub(crate) fn what_does_not_match_costs_no_memory() {
    let mut scene = open(KEY, SECRET);
    let root = scene.folder.path().join("data");
    let name = "n".repeat(180);
    let mut taken = |n_others: u32| {
        for number in 0..n_others {
            let folder = root.join((number % 100).to_string());
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{name}{number}.txt")), "x").unwrap();
        }
        fs::write(root.join("wanted.csv"), "x").unwrap();
        let url = format!("file://{}/**/*.csv", root.display());
        let listed = list(&mut scene, Objects { url, ..Objects::default() }, n_others + 1);
        assert_eq!(lines(&listed).len(), 1, "{listed:?}");
        listed.usage.unwrap().memory_kib
    };
    let (few, many) = (taken(10), taken(60_000));
    assert!(many < few + (8 << 10), "{few} KiB for a few, {many} for many");
}

/// What an attempt says that reads `line` of a list of objects.
fn said(scene: &mut Scene, objects: Objects, line: &str) -> String {
    let input_store = Some(store(scene, objects));
    let program = Program { input_store, ..script(scene, "true") };
    scene.send(&FromMaster::Program(program));
    // An attempt that has ended is not begun again.
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    give(scene, 0, NUMBER.fetch_add(1, Ordering::Relaxed), vec![line.to_owned()]);
    scene.result().exit.to_string()
}

pub(crate) fn what_is_wrong_is_told() {
    let (s3, mut scene) = (S3::start("127.0.0.1"), open(KEY, SECRET));
    s3.write("in/a", "a");
    s3.write("in/b", "b");
    let objects = at(&s3, "s3://data/in/");
    let listed = lines(&list(&mut scene, objects.clone(), 1));
    fs::remove_file(s3.path("in/a")).unwrap();
    s3.write("in/b", "other");
    let message = said(&mut scene, objects.clone(), &listed[0]);
    assert_eq!(message, "its input `s3://data/in/a` is not there any more, as it was when the task began");
    assert_eq!(scene.commands, [], "nothing has run");
    let message = said(&mut scene, objects.clone(), &listed[1]);
    assert_eq!(message, "its input `s3://data/in/b` has changed since the task began");

    let result = list(&mut scene, at(&s3, "s3://nowhere/in/"), 2);
    assert!(result.tail.contains("there is no `s3://nowhere/in`: no such bucket"), "{result:?}");
    let unreachable = Objects { endpoint: Some("http://127.0.0.1:1".to_owned()), ..objects.clone() };
    let result = list(&mut scene, unreachable, 3);
    let expected = "cannot list `s3://data/in` at http://127.0.0.1:1: ";
    assert!(result.tail.starts_with(expected) && result.tail.contains("refused"), "{result:?}");
    let plain = Objects { allow_http: false, ..objects.clone() };
    assert_ne!(list(&mut scene, plain, 4).exit, Exit::Code(0));

    for (key, secret) in [(KEY, "another"), ("ANOTHER", SECRET)] {
        let mut scene = open(key, secret);
        let message = list(&mut scene, objects.clone(), 1).tail;
        let expected = "the store refuses to list `s3://data/in`: are the keys in the Secret `s3` right";
        assert!(message.starts_with(expected), "{message}");
        assert!(!message.contains(key) && !message.contains(secret), "{message}");
        let log = scene.read("stderr");
        assert!(!log.contains(key) && !log.contains(secret), "{log}");
    }
    fs::remove_file(scene.folder.path().join("secret/AWS_SECRET_ACCESS_KEY")).unwrap();
    let message = said(&mut scene, objects.clone(), &listed[0]);
    assert_eq!(message, "the Secret `s3`, named by credentials, has no text under `AWS_SECRET_ACCESS_KEY`");
    fs::remove_dir_all(scene.folder.path().join("secret")).unwrap();
    let message = said(&mut scene, objects.clone(), &listed[0]);
    assert!(message.contains("`s3`, named by credentials, is not in the job's namespace"), "{message}");
    let unsigned = Objects { credentials: None, ..objects };
    let message = said(&mut scene, unsigned, &listed[0]);
    assert!(message.contains("it wants credentials, and none are named by the task"), "{message}");
}

pub(crate) fn folders_count_together() {
    let (s3, mut scene) = (S3::start("127.0.0.1"), open(KEY, SECRET));
    let out = at(&s3, "s3://data/out/");
    for (number, text) in [
        (1, "mkdir -p $CREST_OUTPUT/deep; echo 1 > $CREST_OUTPUT/deep/a; echo 1 > $CREST_OUTPUT/b"),
        (2, "mkdir -p $CREST_OUTPUT; echo 2 > $CREST_OUTPUT/c"),
    ] {
        let program = Program { output_store: Some(store(&scene, out.clone())), ..script(&scene, text) };
        scene.send(&FromMaster::Program(program));
        give(&mut scene, 7, number, Vec::new());
        let result = scene.result();
        assert_eq!(result.exit, Exit::Code(0), "{result:?}");
    }
    s3.write("out/8", "a file");
    let listed = lines(&list(&mut scene, out.clone(), 1));
    let keys = keys(&listed);
    assert!(keys.len() == 2 && keys[0].starts_with("out/.crest-7.2.") && keys[0].ends_with("/c"), "{keys:?}");
    assert_eq!(keys[1], "out/8");
    let pattern = lines(&list(&mut scene, at(&s3, "s3://data/out/7/*"), 2));
    assert_eq!(pattern, listed[..1]);
    assert_eq!(said(&mut scene, out.clone(), &listed[0]), "exit code 0");

    for (index, text, expected) in [
        (1, "true", "it ended with exit code 0, but wrote nothing to CREST_OUTPUT"),
        (2, "mkdir $CREST_OUTPUT; ln -s /etc/passwd $CREST_OUTPUT/x", "which is neither a file nor a folder"),
        (3, "echo half > $CREST_OUTPUT; exit 3", "exit code 3"),
    ] {
        let program = Program { output_store: Some(store(&scene, out.clone())), ..script(&scene, text) };
        scene.send(&FromMaster::Program(program));
        give(&mut scene, index, 1, Vec::new());
        let message = scene.result().exit.to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!s3.path(&format!("out/{index}")).exists());
    }
}

/// Workers are killed at many moments of an instance that writes a large object, and one whose parts belong together.
pub(crate) fn a_killed_worker_leaves_no_half_objects() {
    let (s3, mut n_there, mut whole) = (S3::start("127.0.0.1"), 0, Duration::ZERO);
    let text = "if [ $CREST_INSTANCE_INDEX = 0 ]; then head -c 18000000 /dev/zero > $CREST_OUTPUT; else \
                mkdir $CREST_OUTPUT; for i in 1 2 3 4 5 6 7 8; do head -c 200000 /dev/zero > $CREST_OUTPUT/$i; done; fi";
    for round in 0..24_u32 {
        let (index, out) = (round % 2, format!("out-{round}"));
        let mut scene = open(KEY, SECRET);
        let objects = at(&s3, &format!("s3://data/{out}/"));
        let program = Program { output_store: Some(store(&scene, objects.clone())), ..script(&scene, text) };
        scene.send(&FromMaster::Program(program));
        give(&mut scene, index, 1, Vec::new());
        let start = kit::clock::monotonic();
        if round < 2 {
            assert_eq!(scene.result().exit, Exit::Code(0));
            whole = start.elapsed().max(whole);
        }
        std::thread::sleep(whole * round / 20);
        kill(Pid::from_raw(i32::try_from(scene.worker.id()).unwrap()), Signal::SIGKILL).unwrap();
        scene.wait_for_exit();
        let mut scene = open(KEY, SECRET);
        let listed = list(&mut scene, at(&s3, &format!("s3://data/{out}/*")), 1);
        let listed = if s3.path(&out).exists() { lines(&listed) } else { Vec::new() };
        let deep = list(&mut scene, at(&s3, &format!("s3://data/{out}/*/*")), 2);
        let found: Vec<String> = listed.into_iter().chain(lines(&deep)).collect();
        let sizes: Vec<u64> =
            keys(&found).iter().map(|key| fs::metadata(s3.path(key)).unwrap().len()).collect();
        match (index, sizes.is_empty()) {
            (_, true) => {}
            (0, false) => assert_eq!(sizes, [18_000_000], "round {round}"),
            (_, false) => assert_eq!(sizes, [200_000; 8], "round {round}"),
        }
        n_there += u32::from(!sizes.is_empty());
    }
    assert!(n_there > 1);
    println!("{n_there} of 24 killed workers had put all of their output");
}

pub(crate) fn a_folder_stands_for_a_store() {
    let (mut scene, _) = Scene::open();
    let root = scene.folder.path().to_str().unwrap().to_owned();
    fs::create_dir_all(scene.folder.path().join("in")).unwrap();
    fs::write(scene.folder.path().join("in/a"), "text").unwrap();
    let at = |name: &str| Objects { url: format!("file://{root}/{name}"), ..Objects::default() };
    let listed = lines(&list(&mut scene, at("in/*"), 1));
    assert_eq!(keys(&listed), [format!("{root}/in/a").trim_start_matches('/')]);
    let (input_store, output_store) = (Some(store(&scene, at("in/*"))), Some(store(&scene, at("out/"))));
    let text = "cat $CREST_INPUT > $CREST_OUTPUT; echo $CREST_INPUT_URL >> $CREST_OUTPUT";
    scene.send(&FromMaster::Program(Program { input_store, output_store, ..script(&scene, text) }));
    give(&mut scene, 0, 1, vec![listed.join("\n")]);
    let result = scene.result();
    assert_eq!(result.exit, Exit::Code(0), "{result:?}");
    assert_eq!(scene.read("out/0"), format!("textfile://{root}/in/a\n"));
    assert_eq!(names(&scene.folder.path().join("out")), ["0"]);
}

//! Who a container's process is: numbers and names, the latter looked up in the image's own files.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::cri::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};

/// Files of users and groups are read up to this size; an image cannot make the engine swell.
const LARGEST: u64 = 4 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// The primary group among them, so that the list is never empty: an empty one would leave what was inherited.
    pub groups: Vec<u32>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("the image has no user `{0}`")]
    User(String),
    #[error("the image has no group `{0}`")]
    Group(String),
    #[error("{0} is no user or group id")]
    Number(i64),
    #[error("a group is given without a user")]
    GroupWithoutUser,
    #[error("cannot read `{path}` of the image")]
    Read { path: PathBuf, source: io::Error },
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// By the security context, else by the image's own wish, `user` or `user:group` by number or name.
pub(crate) fn resolve(
    context: &LinuxContainerSecurityContext,
    image_user: &str,
    rootfs: &Path,
) -> Result<Identity, UserError> {
    let accounts = parse_accounts(&read_inside(rootfs, "etc/passwd")?);
    let groups = parse_groups(&read_inside(rootfs, "etc/group")?);
    let (user, mut group) = match (&context.run_as_user, context.run_as_username.as_str()) {
        (Some(uid), _) => (id(uid.value)?.to_string(), None),
        (None, "") if context.run_as_group.is_some() && image_user.is_empty() => {
            return Err(UserError::GroupWithoutUser);
        }
        (None, "") => match image_user.split_once(':') {
            Some((user, group)) => (user.to_owned(), Some(group.to_owned())),
            None => (image_user.to_owned(), None),
        },
        (None, name) => (name.to_owned(), None),
    };
    if let Some(gid) = &context.run_as_group {
        group = Some(id(gid.value)?.to_string());
    }
    let account = find_account(&user, &accounts)?;
    let gid = match group {
        Some(group) if !group.is_empty() => find_group(&group, &groups)?,
        _ => account.gid,
    };
    let mut all = vec![gid];
    if context.supplemental_groups_policy() == SupplementalGroupsPolicy::Merge {
        let of_image = groups.iter().filter(|group| group.members.contains(&account.name));
        all.extend(of_image.map(|group| group.gid));
    }
    for gid in &context.supplemental_groups {
        all.push(id(*gid)?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(Identity { uid: account.uid, gid, groups: all })
}

fn id(number: i64) -> Result<u32, UserError> {
    u32::try_from(number).map_err(|_| UserError::Number(number))
}

/// A number needs no account; it then has group 0 and no name.
fn find_account(user: &str, accounts: &[Account]) -> Result<Account, UserError> {
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let found = accounts.iter().find(|account| account.name == user || number == Some(account.uid));
    match (found, number) {
        (Some(found), _) => Ok(Account { name: found.name.clone(), ..*found }),
        (None, Some(uid)) => Ok(Account { name: String::new(), uid, gid: 0 }),
        (None, None) => Err(UserError::User(user.to_owned())),
    }
}

fn find_group(group: &str, groups: &[Group]) -> Result<u32, UserError> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let found = groups.iter().find(|candidate| candidate.name == group);
    found.map(|group| group.gid).ok_or_else(|| UserError::Group(group.to_owned()))
}

/// Lines that make no sense are passed over, as the C library does.
fn parse_accounts(text: &str) -> Vec<Account> {
    let parse = |line: &str| -> Option<Account> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else { return None };
        Some(Account { name: (*name).to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    };
    text.lines().filter_map(parse).collect()
}

fn parse_groups(text: &str) -> Vec<Group> {
    let parse = |line: &str| -> Option<Group> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields.as_slice() else { return None };
        let members = members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Group { name: (*name).to_owned(), gid: gid.parse().ok()?, members })
    };
    text.lines().filter_map(parse).collect()
}

/// Empty if the image has no such file. Its links lead nowhere but into the image.
fn read_inside(rootfs: &Path, path: &str) -> Result<String, UserError> {
    let attempt = || -> io::Result<Vec<u8>> {
        let file = match open_inside(rootfs, Path::new(path), OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => std::fs::File::from(other?),
        };
        let mut bytes = Vec::new();
        if file.metadata()?.is_file() {
            file.take(LARGEST).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let bytes = attempt().map_err(|source| UserError::Read { path: path.into(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens a path as a process whose root is `rootfs` would; never blocks on a pipe or a device.
pub(crate) fn open_inside(rootfs: &Path, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(rootfs, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat2(root, relative, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::cri::Int64Value;

    fn check(image_user: &str, context: &LinuxContainerSecurityContext, expect: &Expect) {
        let rootfs = tempfile::tempdir().unwrap();
        let etc = rootfs.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        // An absolute link must be resolved inside the image, not on the host.
        std::os::unix::fs::symlink("/etc/accounts", etc.join("passwd")).unwrap();
        std::fs::write(etc.join("accounts"), "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:\nbroken\n").unwrap();
        std::fs::write(etc.join("group"), "root:x:0:\nlog:x:40:web,other\nweb:x:34:\n").unwrap();
        let line = match resolve(context, image_user, rootfs.path()) {
            Ok(identity) => format!("{} {} {:?}", identity.uid, identity.gid, identity.groups),
            Err(error) => error.to_string(),
        };
        expect.assert_eq(&line);
    }

    #[test]
    fn the_images_user() {
        let none = LinuxContainerSecurityContext::default();
        check("", &none, &expect!["0 0 [0]"]);
        check("web", &none, &expect!["33 34 [34, 40]"]);
        check("33:log", &none, &expect!["33 40 [40]"]);
        check("1234", &none, &expect!["1234 0 [0]"]);
        check("nobody", &none, &expect!["the image has no user `nobody`"]);
        check("web:nogroup", &none, &expect!["the image has no group `nogroup`"]);
    }

    #[test]
    fn the_context_goes_before_the_image() {
        let context = LinuxContainerSecurityContext {
            run_as_user: Some(Int64Value { value: 33 }),
            run_as_group: Some(Int64Value { value: 7 }),
            supplemental_groups: vec![9],
            ..Default::default()
        };
        check("root", &context, &expect!["33 7 [7, 9, 40]"]);
        let strict = LinuxContainerSecurityContext {
            supplemental_groups_policy: SupplementalGroupsPolicy::Strict.into(),
            ..context.clone()
        };
        check("root", &strict, &expect!["33 7 [7, 9]"]);
        let negative =
            LinuxContainerSecurityContext { run_as_user: Some(Int64Value { value: -1 }), ..context };
        check("root", &negative, &expect!["-1 is no user or group id"]);
    }

    #[test]
    fn a_group_needs_a_user() {
        let context = LinuxContainerSecurityContext {
            run_as_group: Some(Int64Value { value: 7 }),
            ..Default::default()
        };
        check("", &context, &expect!["a group is given without a user"]);
    }
}

//! `node-cli key`: make and show key files.

use std::borrow::Cow;
use std::path::Path;

use anyhow::Context;
use atoll::Identity;
use atoll::key::hex;
use serde_json::json;

use crate::UsageError;
use crate::args::{KeyFileArgs, KeyVerb, NodeArgs};
use crate::output::Output;
use crate::secrets;

pub(crate) fn run(verb: &KeyVerb, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let passphrase = node.passphrase()?;
    match verb {
        KeyVerb::Create(args) => {
            let path = file(args, node)?;
            let identity = Identity::generate();
            identity.save(path, passphrase.as_deref())?;
            if passphrase.is_none() {
                output.note("the file is not encrypted; --passphrase-file FILE would encrypt it");
            }
            show(path, &identity, output)
        }
        KeyVerb::Show(args) => {
            let path = file(args, node)?;
            show(path, &secrets::load(path, passphrase.as_deref())?, output)
        }
    }
}

fn file<'a>(args: &'a KeyFileArgs, node: &'a NodeArgs) -> anyhow::Result<&'a Path> {
    args.file
        .as_deref()
        .or(node.key.as_deref())
        .context(UsageError(Cow::Borrowed("name the key file, after the verb or with --key")))
}

fn show(path: &Path, identity: &Identity, output: Output) -> anyhow::Result<()> {
    let (id, public) = (identity.id(), hex(&identity.public().to_spki_der()));
    output.line(
        format_args!("file        {}\nid          {id}\npublic key  {public}", path.display()),
        &json!({ "file": path, "id": id, "public_key": public }),
    )
}

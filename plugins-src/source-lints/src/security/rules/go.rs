//! Go's, by the paths that are imported.

use super::*;

fn is_in_tmp(call: &Site<'_>) -> bool {
    begins(call, 0, &["/tmp/", "/var/tmp/"])
}

#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    warning("os/exec.Command", "shell", gives_text_to_a_shell, "a text is given to the shell; name the program and its arguments"),
    warning("os/exec.CommandContext", "shell", gives_text_to_a_shell, "a text is given to the shell; name the program and its arguments"),
    warning("crypto/md5.Sum", "weak-hash", is_for_passwords, PASSWORD),
    warning("crypto/sha1.Sum", "weak-hash", is_for_passwords, PASSWORD),
    warning("crypto/sha256.Sum256", "weak-hash", is_for_passwords, PASSWORD),
    info("crypto/md5.New", "weak-hash", always, MD5),
    info("crypto/md5.Sum", "weak-hash", always, MD5),
    info("crypto/sha1.New", "weak-hash", always, SHA1),
    info("crypto/sha1.Sum", "weak-hash", always, SHA1),
    warning("crypto/des.NewCipher", "weak-cipher", always, CIPHER),
    warning("crypto/des.NewTripleDESCipher", "weak-cipher", always, CIPHER),
    warning("crypto/rc4.NewCipher", "weak-cipher", always, CIPHER),
    warning("golang.org/x/crypto/ssh.InsecureIgnoreHostKey", "no-verification", always, "any host is taken for the one that is meant; use `knownhosts`"),
    info("html/template.HTML", "markup", varies, "what varies is read as HTML, unescaped"),
    info("html/template.JS", "markup", varies, "what varies is read as code, unescaped"),
    info("html/template.URL", "markup", varies, "what varies is taken for a safe address"),
    info("html/template.HTMLAttr", "markup", varies, "what varies is read as HTML, unescaped"),
    info("os.Create", "temporary-file", is_in_tmp, "another user can put a link there first; use `os.CreateTemp`"),
    info("os.WriteFile", "temporary-file", is_in_tmp, "another user can put a link there first; use `os.CreateTemp`"),
    info("io/ioutil.WriteFile", "temporary-file", is_in_tmp, "another user can put a link there first; use `os.CreateTemp`"),
];

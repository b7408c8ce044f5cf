use source_text::by_name;

use super::*;

fn codes(language: &str, text: &str) -> Vec<&'static str> {
    let found = look(text, by_name(language).unwrap());
    found.iter().map(|finding| finding.code).collect()
}

#[test]
fn dangerous_calls_are_found_and_their_names_elsewhere_are_not() {
    for (language, text, expected) in [
        ("python", "eval(x)", "eval"),
        ("python", "os.system(f'rm {x}')", "shell"),
        ("python", "subprocess.run(cmd, shell = True)", "shell"),
        ("python", "pickle.load(open(p, 'rb'))", "deserialisation"),
        ("python", "yaml.load(text)", "deserialisation"),
        (
            "python",
            "requests.get(url, verify=False)",
            "no-verification",
        ),
        ("js", "new Function(code)", "eval"),
        ("ts", "child_process.exec(`ls ${x}`)", "shell"),
        ("c", "gets(line);", "overflow"),
        ("c", "else strcpy(a, b);", "overflow"),
        ("c++", "std::system(command.c_str());", "shell"),
        ("python", "if hint: eval(x)", "eval"),
        ("python", "print eval(x)", "eval"),
        ("php", "unserialize($x)", "deserialisation"),
    ] {
        assert_eq!(codes(language, text), [expected], "{text}");
    }
    for (language, text) in [
        (
            "python",
            "model.eval()\nast.literal_eval(x)\n# eval(x)\n'eval(x)'\ndef eval(x): pass",
        ),
        ("python", "eval('1 + 1')\nos.system('clear')"),
        ("python", "subprocess.run(['ls'], shell=False)"),
        (
            "python",
            "yaml.load(text, Loader=yaml.SafeLoader)\nyaml.safe_load(text)",
        ),
        ("python", "hashlib.md5(data, usedforsecurity=False)"),
        ("python", "zf.extractall(to)\nself.zip_file.extractall(to)"),
        ("js", "setTimeout(() => run(), 10)"),
        ("rust", "eval(x)"),
        (
            "c",
            "int system(const char *command);\nextern char *strcpy(char *to, const char *from);\n",
        ),
        ("c++", "Shell::system(x);\nshell->system(x);"),
    ] {
        assert_eq!(codes(language, text), [""; 0], "{text}");
    }
}

#[test]
fn sql_that_values_are_put_into_is_found_and_bound_parameters_are_not() {
    for (language, text) in [
        ("python", "q = f\"SELECT a FROM t WHERE b = {x}\""),
        ("python", "q = \"select a from t where b = '%s'\" % x"),
        ("python", "q = 'DELETE FROM t WHERE a = {}'.format(x)"),
        ("java", "String q = \"UPDATE t SET a = \" + x;"),
        ("js", "db.query(`SELECT a FROM t WHERE b = ${x}`)"),
        ("go", "fmt.Sprintf(\"INSERT INTO t VALUES (%s)\", x)"),
        ("rust", "format!(\"DROP TABLE {name}\")"),
    ] {
        assert_eq!(codes(language, text), ["sql"], "{text}");
    }
    for text in [
        "db.execute('SELECT a FROM t WHERE b = %s', (x,))",
        "print(f'select {x} of the list')",
        "\"SELECT a FROM t\"",
    ] {
        assert_eq!(codes("python", text), [""; 0], "{text}");
    }
}

#[test]
fn a_secret_in_the_source_is_found_and_never_named() {
    let key = format!("AKIA{}", "QWERTYUIOPASDFGH");
    let found = look(&format!("x = '{key}'"), by_name("python").unwrap());
    assert_eq!(found[0].code, "secret");
    assert!(!found[0].message.contains(&key));
    let random = format!("x9{}Kq4", "vT7_mP2w");
    assert_eq!(
        codes("python", &format!("db_password = '{random}'")),
        ["secret"]
    );
    assert_eq!(
        codes("js", &format!("{{ \"apiKey\": \"{random}\" }}")),
        ["secret"]
    );
    for text in [
        "password = 'your_password_1'",
        "token = os.environ['TOKEN_NAME_1']",
        "title = 'x9vT7mP2wKq4'",
    ] {
        assert_eq!(codes("python", text), [""; 0], "{text}");
    }
}

/// Calls and settings that are found, with their codes.
const FOUND: [(&str, &str, &str); 71] = [
    (
        "go",
        "exec.Command(\"sh\", \"-c\", \"ls \"+dir).Run()",
        "shell",
    ),
    (
        "go",
        "exec.CommandContext(ctx, \"/bin/bash\", \"-c\", command)",
        "shell",
    ),
    ("go", "h := md5.New()", "weak-hash"),
    ("go", "sum := sha256.Sum256([]byte(password))", "weak-hash"),
    ("go", "c, err := des.NewCipher(key)", "weak-cipher"),
    (
        "go",
        "&tls.Config{InsecureSkipVerify: true}",
        "no-verification",
    ),
    (
        "go",
        "HostKeyCallback: ssh.InsecureIgnoreHostKey(),",
        "no-verification",
    ),
    (
        "go",
        "os.WriteFile(\"/tmp/state\", data, 0o600)",
        "temporary-file",
    ),
    ("go", "template.HTML(r.FormValue(\"a\"))", "markup"),
    ("java", "Runtime.getRuntime().exec(\"ls \" + dir);", "shell"),
    ("java", "Runtime.getRuntime()\n    .exec(command);", "shell"),
    (
        "java",
        "Runtime rt = Runtime.getRuntime();\nrt.exec(\"ping \" + host);",
        "shell",
    ),
    (
        "java",
        "new ProcessBuilder(\"/bin/sh\", \"-c\", command).start();",
        "shell",
    ),
    ("java", "scriptEngine.eval(text);", "eval"),
    (
        "java",
        "MessageDigest md = MessageDigest.getInstance(\"MD5\");",
        "weak-hash",
    ),
    (
        "java",
        "java.security.MessageDigest.getInstance(\"SHA-1\");",
        "weak-hash",
    ),
    (
        "java",
        "DigestUtils.md5Hex(user.getPassword());",
        "weak-hash",
    ),
    (
        "java",
        "Cipher.getInstance(\"AES/ECB/PKCS5Padding\");",
        "weak-cipher",
    ),
    ("java", "Cipher.getInstance(\"DES\");", "weak-cipher"),
    (
        "java",
        "Object o = new ObjectInputStream(in).readObject();",
        "deserialisation",
    ),
    (
        "java",
        "c.setHostnameVerifier((host, session) -> true);",
        "no-verification",
    ),
    (
        "java",
        "public void checkServerTrusted(X509Certificate[] c, String a) { }",
        "no-verification",
    ),
    (
        "java",
        "builder.setSSLHostnameVerifier(NoopHostnameVerifier.INSTANCE);",
        "no-verification",
    ),
    (
        "java",
        "DriverManager.getConnection(url, \"root\", \"hunter2\");",
        "secret",
    ),
    (
        "java",
        "new SecretKeySpec(\"0123456789abcdef\".getBytes(UTF_8), \"AES\");",
        "secret",
    ),
    (
        "java",
        "new File(folder, request.getParameter(\"name\"));",
        "path-traversal",
    ),
    (
        "java",
        "response.getWriter().println(\"Hi \" + request.getParameter(\"n\"));",
        "markup",
    ),
    ("ruby", "system(\"ls #{dir}\")", "shell"),
    ("ruby", "system \"tar xf #{name}\" if name", "shell"),
    ("ruby", "x = `ls #{dir}`", "shell"),
    ("ruby", "x = %x(ls #{dir})", "shell"),
    (
        "ruby",
        "out, _ = Open3.capture2(\"git log \" + ref)",
        "shell",
    ),
    ("ruby", "eval(params[:code])", "eval"),
    ("ruby", "eval code", "eval"),
    ("ruby", "user.send(params[:method])", "eval"),
    ("ruby", "Marshal.load(cookies[:state])", "deserialisation"),
    ("ruby", "YAML.load(text)", "deserialisation"),
    ("ruby", "Digest::MD5.hexdigest(password)", "weak-hash"),
    ("ruby", "OpenSSL::Cipher.new('DES-EDE3-CBC')", "weak-cipher"),
    (
        "ruby",
        "http.verify_mode = OpenSSL::SSL::VERIFY_NONE",
        "no-verification",
    ),
    ("ruby", "User.where(\"name = '#{params[:name]}'\")", "sql"),
    ("ruby", "User.order(\"#{params[:by]} desc\")", "sql"),
    (
        "ruby",
        "db.execute(<<~SQL)\n  SELECT a FROM t WHERE b = #{x}\nSQL\n",
        "sql",
    ),
    ("ruby", "File.read(params[:path])", "path-traversal"),
    ("php", "<?php eval($_GET['a']); ?>", "eval"),
    ("php", "shell_exec('ping ' . $host);", "shell"),
    ("php", "\\exec(\"ls $dir\");", "shell"),
    ("php", "$x = `ls $dir`;", "shell"),
    ("php", "$user->pass = md5($password);", "weak-hash"),
    ("php", "preg_replace('/a/e', $b, $c);", "eval"),
    ("php", "include $_GET['page'];", "path-traversal"),
    ("php", "file_get_contents($_GET['f']);", "path-traversal"),
    (
        "php",
        "<p><?= 1 ?>don't</p><?php echo \"Hi \" . $_GET['n']; ?>",
        "markup",
    ),
    (
        "php",
        "curl_setopt($c, CURLOPT_SSL_VERIFYPEER, false);",
        "no-verification",
    ),
    ("php", "new Client(['verify' => false]);", "no-verification"),
    ("php", "$q = \"SELECT a FROM t WHERE b = '$x'\";", "sql"),
    ("php", "$q = 'SELECT a FROM t WHERE b = ' . $x;", "sql"),
    (
        "js",
        "https.request({ rejectUnauthorized: false })",
        "no-verification",
    ),
    (
        "js",
        "process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';",
        "no-verification",
    ),
    ("js", "crypto.createHash('md5')", "weak-hash"),
    ("js", "vm.runInNewContext(code, {})", "eval"),
    ("js", "box.innerHTML = '<b>' + name + '</b>';", "markup"),
    ("c", "scanf(\"%s\", name);", "overflow"),
    ("c", "FILE *f = popen(command, \"r\");", "shell"),
    (
        "rust",
        "Client::builder().danger_accept_invalid_certs(true)",
        "no-verification",
    ),
    (
        "python",
        "ctx.verify_mode = ssl.CERT_NONE",
        "no-verification",
    ),
    (
        "python",
        "client.set_missing_host_key_policy(paramiko.AutoAddPolicy())",
        "no-verification",
    ),
    (
        "python",
        "hashlib.sha256(password.encode()).hexdigest()",
        "weak-hash",
    ),
    (
        "python",
        "Environment = jinja2.Environment(autoescape=False)",
        "markup",
    ),
    (
        "python",
        "session.get(url, timeout=3, verify=False)",
        "no-verification",
    ),
    (
        "kotlin",
        "db.rawQuery(\"SELECT a FROM t WHERE b = $x\", null)",
        "sql",
    ),
];

/// What is near to one of these and is none.
const LEFT: [(&str, &str); 43] = [
    (
        "go",
        "exec.Command(\"git\", \"log\", ref)\nexec.Command(\"sh\", \"-c\", \"ls\")",
    ),
    ("go", "import \"example.com/md5\"\nh := md5.New()"),
    (
        "go",
        "&tls.Config{InsecureSkipVerify: false}\nif c.InsecureSkipVerify == true {}",
    ),
    ("go", "os.WriteFile(filepath.Join(dir, \"a\"), data, 0o600)"),
    ("go", "fmt.Sprintf(\"SELECT a FROM t LIMIT %d\", n)"),
    (
        "java",
        "Runtime.getRuntime().exec(new String[] {\"ls\", dir});",
    ),
    ("java", "new ProcessBuilder(\"git\", \"log\", ref).start();"),
    (
        "java",
        "MessageDigest.getInstance(\"SHA-256\");\nCipher.getInstance(\"AES/GCM/NoPadding\");",
    ),
    (
        "java",
        "Cipher.getInstance(\"RSA/ECB/OAEPWithSHA-256AndMGF1Padding\");",
    ),
    (
        "java",
        "String q = \"SELECT a FROM t \" +\n    \"WHERE b = ?\" + ORDER;",
    ),
    (
        "java",
        "String q = \"\"\"\n    SELECT a FROM t\n    WHERE b = 'x'\n    \"\"\";\nString r = a + b;",
    ),
    (
        "java",
        "public void checkServerTrusted(X509Certificate[] c, String a) { real.check(c); }",
    ),
    (
        "java",
        "DriverManager.getConnection(url, user, System.getenv(\"PASSWORD\"));",
    ),
    (
        "java",
        "log.info(\"Select a file from the list: \" + name);",
    ),
    (
        "ruby",
        "system('ls', dir)\nsystem(\"ls\")\nsystem(*command)\nsystem \"make\"",
    ),
    (
        "ruby",
        "def system(x)\nend\nsystem_check(x)\nsolar.system(x)",
    ),
    ("ruby", "x = `ls`\n# `ls #{x}`\ny = \"#{z}\""),
    (
        "ruby",
        "User.where(name: params[:name])\nUser.where('a = ?', x).order(:a)",
    ),
    ("ruby", "YAML.safe_load(text)\nYAML.load_file('a.yml')"),
    ("ruby", "raise if mode == OpenSSL::SSL::VERIFY_NONE"),
    (
        "ruby",
        "system \"ls #{DIR}\"\nsystem(\"ls #{Shellwords.shellescape(x)}\")",
    ),
    (
        "php",
        "shell_exec('ping ' . escapeshellarg($host));\nexec('ls');",
    ),
    (
        "php",
        "$pdo->exec($sql); Foo::system($x); a\\exec($x); function exec($x) {}",
    ),
    ("php", "unserialize($x, ['allowed_classes' => false]);"),
    (
        "php",
        "$key = md5($url);\ninclude 'a.php';\nrequire __DIR__ . '/b.php';",
    ),
    ("php", "echo htmlspecialchars($_GET['n']); echo \"hi\";"),
    ("php", "<p>eval(it), don't echo $_GET here</p><?php ?>"),
    ("php", "preg_replace('/the/i', $b, $c);"),
    (
        "php",
        "$q = 'SELECT a FROM ' . TABLE . ' WHERE b = ?';\n$r = \"SELECT a FROM t WHERE b = ?\";",
    ),
    ("php", "curl_setopt($c, CURLOPT_SSL_VERIFYPEER, true);"),
    (
        "js",
        "const { execSync } = require('./own');\nexecSync(command)",
    ),
    ("js", "https.request({ rejectUnauthorized: true })"),
    (
        "js",
        "box.innerHTML = '';\nbox.innerHTML = '<b>x</b>';\nbox.textContent = 'a' + b;",
    ),
    (
        "js",
        "crypto.createHash('sha256')\ncache.get(key, { verify: false })",
    ),
    (
        "c",
        "scanf(\"%31s\", name);\nsystem(COMMAND);\nsystem(\"a\" \"b\");\nstrcpy(to, \"x\");",
    ),
    (
        "python",
        "if ctx.verify_mode == ssl.CERT_NONE: pass\nkwargs.get('verify', False)",
    ),
    (
        "python",
        "os.system('a' 'b')\nos.system(COMMAND)\nsubprocess.run('ls | wc', shell=True)",
    ),
    ("python", "q = f'SELECT * FROM {TABLE} WHERE a = ?'"),
    (
        "python",
        "q = 'SELECT a FROM t WHERE b IN (%s)' % ','.join(['%s'] * n)",
    ),
    ("python", "q = ('SELECT a FROM t '\n     'WHERE b = ?')"),
    (
        "python",
        "print('Update the value set by ' + name)\nprint('select one from ' + name)",
    ),
    ("python", "hashlib.sha256(data).hexdigest()"),
    (
        "rust",
        "Client::builder().danger_accept_invalid_certs(false)\nformat!(\"SELECT a FROM {TABLE}\")",
    ),
];

#[test]
fn each_language_has_calls_and_settings_that_are_found() {
    for (language, text, expected) in FOUND {
        assert_eq!(codes(language, text), [expected], "{language}: {text}");
    }
}

#[test]
fn what_is_only_near_to_one_is_left() {
    for (language, text) in LEFT {
        assert_eq!(codes(language, text), [""; 0], "{language}: {text}");
    }
}

#[test]
fn a_call_is_found_under_the_name_that_the_file_gives_it() {
    for (language, text, expected) in [
        (
            "python",
            "import subprocess as sp\nsp.run(c, shell=True)",
            "shell",
        ),
        ("python", "from os import system as s\ns(c)", "shell"),
        (
            "python",
            "from os import (\n    path,\n    system as s, # x\n)\ns(c)",
            "shell",
        ),
        ("python", "from os import *\nsystem(c)", "shell"),
        (
            "python",
            "import cPickle as pickle, os.path as p\npickle.loads(x)",
            "deserialisation",
        ),
        (
            "python",
            "from subprocess import \\\n    Popen\nPopen(c, shell=True)",
            "shell",
        ),
        (
            "js",
            "const { exec: run } = require('child_process');\nrun(`ls ${x}`)",
            "shell",
        ),
        (
            "js",
            "const cp = require('node:child_process')\ncp.exec('ls ' + x)",
            "shell",
        ),
        (
            "js",
            "const run = require('child_process').exec;\nrun(x)",
            "shell",
        ),
        (
            "js",
            "import { spawn, exec as run } from 'child_process';\nrun(x)",
            "shell",
        ),
        (
            "ts",
            "import * as cp from \"child_process\";\ncp.execSync(x)",
            "shell",
        ),
        (
            "ts",
            "import cp = require('child_process');\ncp.exec(x)",
            "shell",
        ),
        (
            "js",
            "const { exec } = require('child_process');\nconst run = util.promisify(exec);\nawait run(x)",
            "shell",
        ),
        (
            "go",
            "import run \"os/exec\"\nfunc f() { run.Command(\"sh\", \"-c\", x) }",
            "shell",
        ),
        (
            "go",
            "import (\n\t\"fmt\"\n\t. \"os/exec\"\n)\nfunc f() { Command(\"sh\", \"-c\", x) }",
            "shell",
        ),
        (
            "java",
            "import static java.security.MessageDigest.getInstance;\nx = getInstance(\"MD5\");",
            "weak-hash",
        ),
    ] {
        assert_eq!(codes(language, text), [expected], "{text}");
    }
    for (language, text) in [
        ("python", "from safe import eval\neval(x)"),
        ("python", "from .shell import system\nsystem(c)"),
        ("js", "import { exec } from './own';\nexec(x)"),
        ("js", "const exec = /a/.exec(x);\nre.exec(x)"),
        (
            "go",
            "import (\n\t\"own/exec\"\n)\nfunc f() { exec.Command(\"sh\", \"-c\", x) }",
        ),
    ] {
        assert_eq!(codes(language, text), [""; 0], "{text}");
    }
}

#[test]
fn another_name_is_proposed_only_where_the_call_is_written_in_full() {
    let found = |text: &str| look(text, by_name("python").unwrap()).remove(0);
    assert!(found("yaml.load(x)").suggestion.is_some());
    assert!(found("from yaml import load\nload(x)").suggestion.is_none());
}

#[test]
fn passwords_in_urls_and_in_pairs_are_found() {
    let random = format!("x9{}Kq4", "vT7_mP2w");
    for (language, text) in [
        ("php", format!("define('DB_PASSWORD', '{random}');")),
        ("php", format!("['password' => '{random}']")),
        ("ruby", format!("{{ password: '{random}', :api_key => 1 }}")),
        ("go", format!("password := \"{random}\"")),
        (
            "java",
            "url = \"postgres://me:hunter22@db.firm.de/x\";".to_owned(),
        ),
    ] {
        assert_eq!(codes(language, &text), ["secret"], "{text}");
    }
    for text in [
        "url = \"postgres://user:password1@db/x\";",
        "f(\"https://a.de/b:c1@d\", \"token\", x);",
    ] {
        assert_eq!(codes("java", text), [""; 0], "{text}");
    }
}

#[test]
fn nothing_unclosed_trips_it() {
    for text in [
        "eval(",
        "f('é",
        "(",
        ")",
        "é(",
        "password = '",
        "\"SELECT é FROM",
        "from é import (",
        "import (\"é",
        "const { é = require('child_process'",
        ".exec(",
        ").exec(",
        "system \"é #{",
        "system é",
        "echo $é",
        "%x(é #{",
        "é.innerHTML = 'é' + ",
        "checkServerTrusted({",
        "'verify' =>",
    ] {
        for language in ["python", "js", "c", "go", "java", "ruby", "php"] {
            codes(language, text);
        }
    }
}

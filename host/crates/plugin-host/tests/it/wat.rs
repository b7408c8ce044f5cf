//! Small components, written by hand, so that the tests need no wasm toolchain.

/// Parts of a component that exports `codetune:plugin/tool@0.1.0`; change what a test is about.
pub(crate) struct Component {
    /// `metadata.name`.
    pub(crate) name: String,
    /// `metadata.version`.
    pub(crate) version: String,
    /// JSON that `execute` returns.
    pub(crate) answer: String,
    /// JSON Schema of the answer.
    pub(crate) output_schema: String,
    /// JSON Schema of the config.
    pub(crate) config_schema: String,
    /// Instructions at the head of `execute`; the parameters are `$at` and `$length`.
    pub(crate) execute: String,
    /// Instructions at the head of `metadata`.
    pub(crate) metadata: String,
    /// Fields of the core module beside the usual ones.
    pub(crate) module: String,
    /// Definitions before the core module, imports among them.
    pub(crate) before: String,
    /// Arguments of the core module's instantiation.
    pub(crate) with: String,
    /// The length that `execute` claims for its answer, instead of the true one.
    pub(crate) claimed_length: Option<usize>,
}

impl Component {
    /// Answers `{"ok":true}` to everything.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            answer: r#"{"ok":true}"#.to_owned(),
            output_schema:
                r#"{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"]}"#
                    .to_owned(),
            config_schema: "{}".to_owned(),
            execute: String::new(),
            metadata: String::new(),
            module: String::new(),
            before: String::new(),
            with: String::new(),
            claimed_length: None,
        }
    }

    /// One that does `execute` first.
    pub(crate) fn executing(name: &str, execute: &str) -> Self {
        Self {
            execute: execute.to_owned(),
            ..Self::new(name)
        }
    }

    /// As text.
    pub(crate) fn wat(&self) -> String {
        // Texts lie from 4096 on; records that functions return below it.
        let texts = [
            &self.name,
            &self.version,
            "A test.",
            "The tests",
            r#"{"type":"object"}"#,
            &self.output_schema,
            &self.config_schema,
            &self.answer,
        ];
        let mut data = String::new();
        let mut places = Vec::new();
        let mut at = 4096;
        for text in texts {
            data += &format!("(data (i32.const {at}) \"{}\")\n", escape(text.as_bytes()));
            places.push((at, text.len()));
            at += text.len();
        }
        let word = |place: usize, value: usize| {
            format!(
                "(data (i32.const {place}) \"{}\")\n",
                escape(&u32::try_from(value).unwrap().to_le_bytes())
            )
        };
        let pair =
            |place: usize, (at, length): (usize, usize)| word(place, at) + &word(place + 4, length);
        // metadata: name, version, description, author, tags (none), three schemas.
        for (index, place) in [0, 8, 16, 24, 40, 48, 56].into_iter().enumerate() {
            data += &pair(1024 + place, places[index]);
        }
        // ok, and the answer.
        let (answer, length) = places[7];
        data += &pair(2052, (answer, self.claimed_length.unwrap_or(length)));
        format!(
            r#"(component
              {before}
              (core module $m
                {module}
                (memory (export "memory") 1)
                {data}
                (global $free (mut i32) (i32.const 32768))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                  (local $at i32)
                  (local.set $at (global.get $free))
                  (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 15)) (i32.const -16)))
                  (block $fits
                    (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
                    (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536))))))
                  (local.get $at))
                (func (export "metadata") (result i32) {metadata} (i32.const 1024))
                (func (export "validate-inputs") (param i32 i32) (result i32) (i32.const 3072))
                (func $execute (export "execute") (param $at i32) (param $length i32) (result i32)
                  {execute}
                  (i32.const 2048)))
              (core instance $i (instantiate $m {with}))
              (type $metadata (record
                (field "name" string) (field "version" string) (field "description" string)
                (field "author" string) (field "tags" (list string)) (field "input-schema" string)
                (field "output-schema" string) (field "config-schema" string)))
              (func $metadata (result $metadata)
                (canon lift (core func $i "metadata") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
              (func $validate (param "inputs" string) (result (result (error string)))
                (canon lift (core func $i "validate-inputs") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
              (func $execute (param "inputs" string) (result (result string (error string)))
                (canon lift (core func $i "execute") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
              (component $tool
                (import "import-metadata-type" (type $t (eq $metadata_)))
                (import "import-metadata" (func $f (result $t)))
                (import "import-validate" (func $g (param "inputs" string) (result (result (error string)))))
                (import "import-execute" (func $h (param "inputs" string) (result (result string (error string)))))
                (export $e "plugin-metadata" (type $t))
                (export "metadata" (func $f) (func (result $e)))
                (export "validate-inputs" (func $g))
                (export "execute" (func $h)))
              (instance $tool (instantiate $tool
                (with "import-metadata-type" (type $metadata))
                (with "import-metadata" (func $metadata))
                (with "import-validate" (func $validate))
                (with "import-execute" (func $execute))))
              (export "codetune:plugin/tool@0.1.0" (instance $tool)))"#,
            before = self.before,
            module = self.module,
            metadata = self.metadata,
            execute = self.execute,
            with = self.with,
        )
        .replace(
            "(component $tool\n",
            r#"(component $tool
                (type $metadata_ (record
                  (field "name" string) (field "version" string) (field "description" string)
                  (field "author" string) (field "tags" (list string)) (field "input-schema" string)
                  (field "output-schema" string) (field "config-schema" string)))
"#,
        )
    }

    /// As bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let text = self.wat();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

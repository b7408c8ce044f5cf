//! What licences ask to have written at the head of files, and how files write it.

/// Phrases of headers, in lower case with single spaces, and what they mean. The first that fits has the text.
pub(crate) const PHRASES: [(&str, &str); 48] = [
    (
        "apache license v2.0 with llvm exceptions",
        "Apache-2.0 WITH LLVM-exception",
    ),
    ("under the apache license, version 2.0", "Apache-2.0"),
    ("under the apache license version 2.0", "Apache-2.0"),
    ("under the apache license (version 2.0)", "Apache-2.0"),
    ("under the apache license, v2.0", "Apache-2.0"),
    ("under the apache license v2.0", "Apache-2.0"),
    ("under the apache license 2.0", "Apache-2.0"),
    ("under the apache 2.0 license", "Apache-2.0"),
    ("under the terms of the apache license", "Apache-2.0"),
    ("under the terms of the apache 2.0 license", "Apache-2.0"),
    ("gnu affero general public license", "AGPL-3.0"),
    ("gnu lesser general public license", "LGPL"),
    ("gnu library general public license", "LGPL"),
    ("gnu general public license", "GPL"),
    ("mozilla public license, v. 2.0", "MPL-2.0"),
    ("mozilla public license, version 2.0", "MPL-2.0"),
    ("mozilla public license 2.0", "MPL-2.0"),
    ("eclipse public license v2", "EPL-2.0"),
    ("eclipse public license v1", "EPL-1.0"),
    ("boost software license, version 1.0", "BSL-1.0"),
    (
        "permission is hereby granted, free of charge, to any person or organization obtaining a copy",
        "BSL-1.0",
    ),
    (
        "permission to use, copy, modify, and/or distribute this software for any",
        "ISC",
    ),
    (
        "permission to use, copy, modify, and distribute this software for any",
        "ISC",
    ),
    (
        "permission is hereby granted, free of charge, to any person obtaining a copy",
        "MIT",
    ),
    ("licensed under the mit license", "MIT"),
    ("released under the mit license", "MIT"),
    ("under the terms of the mit license", "MIT"),
    ("licensed under mit", "MIT"),
    ("distributed under the mit software license", "MIT"),
    ("distributed under the mit license", "MIT"),
    ("available under the mit license", "MIT"),
    ("mit-style license", "MIT"),
    ("mit style license", "MIT"),
    ("mit licensed", "MIT"),
    ("the mit license (mit)", "MIT"),
    ("@license mit", "MIT"),
    ("@license apache-2.0", "Apache-2.0"),
    (
        "this is free and unencumbered software released into the public domain",
        "Unlicense",
    ),
    ("creative commons cc0", "CC0-1.0"),
    ("cc0 1.0 universal", "CC0-1.0"),
    ("licensed to psf under a contributor agreement", "PSF-2.0"),
    (
        "this software is provided 'as is', without any express or implied warranty",
        "Zlib",
    ),
    (
        "this software is provided 'as-is', without any express or implied warranty",
        "Zlib",
    ),
    ("neither the name of", "BSD-3-Clause"),
    (
        "redistribution and use in source and binary forms",
        "BSD-2-Clause",
    ),
    ("bsd-style license", "BSD-3-Clause"),
    ("bsd style license", "BSD-3-Clause"),
    ("under the bsd 3-clause license", "BSD-3-Clause"),
];

/// How a header that leaves a choice names what there is to choose from.
pub(crate) const CHOICES: [(&str, &str); 10] = [
    ("apache license", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("mit license", "MIT"),
    ("license-mit", "MIT"),
    ("zlib license", "Zlib"),
    ("license-zlib", "Zlib"),
    ("boost software license", "BSL-1.0"),
    ("2-clause bsd license", "BSD-2-Clause"),
    ("3-clause bsd license", "BSD-3-Clause"),
    ("unlicense", "Unlicense"),
];

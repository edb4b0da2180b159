"""The words the grammar goes by: which mark a wish it cannot fulfil, which name a place, a language, a kind of file.

Lists, not rules. A word stands here because some goal with it would otherwise be planned wrongly (the refusing
lists) or refused needlessly (the naming lists).
"""

from __future__ import annotations


def words(*lists: str) -> frozenset[str]:
    """The words of white-space separated lists."""
    return frozenset(word for listed in lists for word in listed.split())


EXTENSIONS = words(
    "md markdown txt text rst adoc log csv tsv json jsonl ndjson yaml yml toml ini cfg conf xml html htm css",
    "scss less js jsx ts tsx mjs cjs vue svelte py pyi ipynb rb go rs java kt kts scala c h cc cpp cxx hpp cs",
    "php pl lua r jl swift sh bash zsh fish ps1 bat cmd sql proto graphql tf hcl gradle properties env lock",
    "tex bib org srt eml diff patch pdf doc docx odt xls xlsx ods ppt pptx png jpg jpeg gif svg bmp tiff mp3",
    "mp4 wav avi mov zip tar gz tgz bz2 xz 7z rar bak tmp old orig out dat db sqlite bin exe so dll pem key",
    "crt tmpl j2 mk cmake dockerfile ics vcf rtf epub",
)
"""What makes `name.ext` a file; `os.system` and `example.com` are words."""

TEXT_REPORTS = words("md markdown txt text rst json log")
"""What a report can be written as."""

BINARY = words(
    "pdf doc docx odt xls xlsx ods ppt pptx png jpg jpeg gif svg bmp tiff mp3 mp4 wav avi mov zip tar gz tgz bz2",
    "xz 7z rar db sqlite bin exe so dll rtf epub",
)
"""Files that cannot be read as text."""

NAMED_FILES = words(
    "README LICENSE LICENCE CHANGELOG CHANGES COPYING NOTICE AUTHORS CONTRIBUTING CODEOWNERS VERSION",
    "Makefile Dockerfile Jenkinsfile Procfile Vagrantfile Gemfile Rakefile Pipfile Brewfile Caddyfile",
)
"""Files without an extension, as they are really spelled."""

DOT_FILES = words(
    ".env .gitignore .gitattributes .dockerignore .editorconfig .bashrc .zshrc .profile .npmrc .nvmrc",
    ".prettierrc .eslintrc .babelrc .flake8 .pylintrc .coveragerc .vimrc .netrc .htaccess",
)

NOT_FILES = words(
    "node.js vue.js next.js nuxt.js react.js express.js d3.js three.js angular.js ember.js backbone.js",
    "chart.js moment.js deno.ts console.log math.log logger.log window.open",
)
"""Products that look like files."""

FOLDERS = words(
    "src source sources lib libs app apps docs doc test tests spec specs script scripts tools config configs",
    "conf log logs data static server client build dist include examples example samples backend frontend",
    "assets templates migrations core api packages pkg vendor modules components services models views",
    "controllers runtime actors adapters infra deploy deployment etc var bin cmd internal third_party",
    "node_modules utils helpers fixtures plugins extensions middleware routes handlers workers crates cli gui ui",
    "db schemas notebooks notes wiki",
)
"""Bare words that are folders after `in` or `under`; another name needs `./` or the word folder."""

GLOBS = {
    "python": "**/*.py",
    "py": "**/*.py",
    "markdown": "**/*.md",
    "md": "**/*.md",
    "text": "**/*.txt",
    "txt": "**/*.txt",
    "plaintext": "**/*.txt",
    "json": "**/*.json",
    "yaml": "**/*.y*ml",
    "yml": "**/*.yml",
    "toml": "**/*.toml",
    "javascript": "**/*.js",
    "js": "**/*.js",
    "typescript": "**/*.ts",
    "ts": "**/*.ts",
    "java": "**/*.java",
    "go": "**/*.go",
    "golang": "**/*.go",
    "rust": "**/*.rs",
    "ruby": "**/*.rb",
    "c": "**/*.c",
    "c++": "**/*.cpp",
    "cpp": "**/*.cpp",
    "header": "**/*.h",
    "html": "**/*.html",
    "css": "**/*.css",
    "shell": "**/*.sh",
    "sh": "**/*.sh",
    "bash": "**/*.sh",
    "sql": "**/*.sql",
    "log": "**/*.log",
    "csv": "**/*.csv",
    "xml": "**/*.xml",
    "ini": "**/*.ini",
    "php": "**/*.php",
    "kotlin": "**/*.kt",
    "swift": "**/*.swift",
    "rst": "**/*.rst",
    "terraform": "**/*.tf",
}
"""Kinds of files by the word people use."""

LANGUAGES = words(
    "german french spanish italian portuguese dutch polish russian ukrainian chinese mandarin japanese korean",
    "arabic hebrew turkish greek swedish norwegian danish finnish czech hungarian romanian hindi latin welsh",
    "esperanto klingon deutsch français español catalan croatian serbian bulgarian vietnamese thai indonesian",
)

MODIFIERS = words(
    # leaving out, conditions
    "not no never nor neither without except excluding exclude excludes excepting but unless if only instead",
    "otherwise else don't dont doesn't isn't aren't won't can't cannot shouldn't skip skipping ignoring omit",
    "omitting besides apart aside rather provided assuming depending nothing none nobody",
    # choosing by order, size or age
    "first last second third fourth fifth sixth seventh eighth ninth tenth final 1st 2nd 3rd 4th 5th 10th",
    "oldest newest latest earliest recent recently largest biggest smallest longest shortest highest lowest",
    "older newer larger bigger smaller longer shorter fewer higher lower greater less least more than top bottom",
    "next previous nth random randomly odd even alternate half best worst heaviest fastest slowest",
    "before after since until till during ago once twice",
    # time
    "today yesterday tomorrow tonight now daily weekly monthly yearly hourly nightly always whenever while",
    "every-day monday tuesday wednesday thursday friday saturday sunday week weeks month months morning",
    "evening afternoon noon midnight later soon",
    # order and shape
    "sorted sort sorts ordered alphabetically alphabetical chronologically chronological descending ascending",
    "reverse reversed backwards grouped group unique distinct deduplicated ranked numerically shuffled",
    "modified edited touched committed per",
    "table chart graph diagram plot histogram spreadsheet excel powerpoint slides slide presentation poem haiku",
    "song limerick rhyme rhymes story joke sonnet emoji emojis audio video image mindmap flowchart rap",
    "screenshot podcast pdf surrounding average median percentile copy copies translation",
    "translations duplicate aloud via slack teams discord whatsapp telegram uppercase lowercase bold italic italics",
    "capitals forever immediately asap",
    # the world outside
    "internet web online google wikipedia website websites url weather forecast news stock twitter facebook",
)
"""Words that choose, exclude, order or time: no tool of ours can, so a goal with one is refused."""

_NO_SUPERLATIVES = words(
    "test pytest unittest rest west east guest nest chest request requests interest digest manifest suggest protest",
    "harvest forest arrest contest honest modest invest quest conquest ingest attest unrest crest priest breast",
    "doctest midwest southwest northwest northeast southeast budapest trieste bucharest est vest zest jest pest",
    "retest latest-version feast yeast beast least",
)


def modifies(word: str) -> bool:
    """Whether this word chooses, excludes, orders or times, also as a superlative that stands in no list."""
    return word in MODIFIERS or (len(word) > 4 and word.endswith("est") and word not in _NO_SUPERLATIVES)


DEEDS = words(
    "delete deletes remove erase wipe drop purge clean cleanup clear trash destroy shred discard",
    "move rename relocate copy duplicate clone backup zip unzip compress decompress encrypt decrypt archive",
    "send mail email e-mail post publish share forward tweet text notify alert ping call phone contact invite",
    "message commit push rebase stash release deploy install uninstall upgrade update downgrade ship roll",
    "run rerun execute launch start stop restart kill build compile debug fix repair patch correct refactor",
    "rewrite rephrase reword paraphrase edit modify change replace substitute swap append prepend insert attach",
    "format reformat lint translate download upload fetch visit click print play draw paint plot render",
    "schedule remind book order buy sell pay transfer subscribe register login sign enable disable configure",
    "turn switch lock unlock connect disconnect wait sleep repeat undo redo revert reset restore recover sort",
    "filter reorder rank dedupe deduplicate shuffle reverse implement code program train guess predict invent",
    "improve optimise optimize simplify monitor watch track follow ignore forget pretend act sing approve reject",
    "hide rotate resize crop transcribe proofread validate ensure set unset bring tidy trim strip cut split",
    "migrate port upload increase decrease bump apply answer reply respond obey override bypass grant revoke",
    "chmod chown mkdir touch curl wget ssh sudo rm mv cp export import convert generate create make open close",
    "upgrade merge test verify obfuscate redact mask anonymise anonymize censor spell highlight colour color",
    "write rewrite store save put note ask tell talk speak whisper shout say",
)
"""Verbs that command. In free text after `and` or `then` they are a wish of their own, never part of a question."""

VAGUE_ADJECTIVES = words(
    "unused duplicate duplicated dead empty missing broken unreachable untested undocumented circular redundant",
    "similar interesting suspicious weird wrong bad good long slow big large small old new short huge tiny",
    "important cheap nice",
    "unimportant relevant irrelevant obsolete outdated insecure unsafe inefficient complex complicated ugly messy",
    "badly poorly repeated identical unnecessary inconsistent",
)
"""What has to be judged; a search text that begins with one is refused."""

VAGUE_NOUNS = words(
    "duplicates bug bugs typo typos vulnerability vulnerabilities leak leaks problem problems issue issues smell",
    "smells mistake mistakes spelling grammar holes conditions function functions class classes method methods",
    "variable variables parameter parameters argument arguments file files folder folders directory directories",
    "code stuff thing things image images picture pictures photo photos video videos loop loops paragraph paragraphs",
    "sentence sentences chapter chapters page pages row rows column columns record records user users people names",
    "commit commits dependency dependencies line lines word words character characters comment comments item items",
    "section sections heading headings one ones it them this that these those everything anything something",
    "information info way ways reason reasons cause causes idea ideas flight flights hotel hotels restaurant",
    "restaurants recipe recipes ticket tickets deals improvement improvements opportunity opportunities conflict",
    "conflicts inconsistency inconsistencies complexity performance quality style logic meaning place places spots",
    "bottleneck bottlenecks example examples difference differences content contents summary result results",
    "answer answers total date author authors owner decision decisions points end start beginning head tail rest",
    "middle top bottom title introduction conclusion",
)
"""What nobody finds by looking for the word itself; a search text that ends with one is refused."""

MARKERS = words("todo fixme xxx hack bug note optimize wtf nocommit")
"""Words left in code to be found; in capitals they are always meant literally."""

NUMBER_WORDS = {
    "zero": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "thirteen": 13,
    "fourteen": 14,
    "fifteen": 15,
    "sixteen": 16,
    "seventeen": 17,
    "eighteen": 18,
    "nineteen": 19,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
}

ASKING = words("what which who whom whose when where why how")
AUXILIARIES = words("is are was were do does did has have had can could will would should may might must am")
DETERMINERS = words("the a an any all every each some both its their his her my our your this that these those")
FINITE = AUXILIARIES | words(
    "has likes loves hates prefers lives works uses wants needs costs starts ends begins expires runs moved moves",
    "means equals owns speaks plays drives sits belongs goes comes gets takes makes changed became arrives leaves",
    "opens closes meets said says called named keeps holds wears eats drinks contains requires expects returns",
    "switched switches use prefer like live work need want keep hate love agreed decided planned married got",
    "isn't aren't wasn't weren't doesn't don't can't cannot won't shouldn't mustn't haven't hasn't didn't",
    "he's she's it's we're they're i'm",
)
"""Verbs that make a row of words a statement."""

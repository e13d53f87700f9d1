// Compile a Kaitai Struct description to Python: node compile_ksy.js IN.ksy OUT_FOLDER
const compiler = require("kaitai-struct-compiler");
const yaml = require("js-yaml");
const fs = require("fs");
const [source, folder] = process.argv.slice(2);
compiler.compile("python", yaml.load(fs.readFileSync(source, "utf8")), null, false).then((files) => {
  for (const name in files) fs.writeFileSync(`${folder}/${name}`, files[name]);
});

// The description of the interface, from openapi.json, for people.

const main = document.getElementById("paths");

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// The fields of a body: its name, its type with its bounds, and what it begins with.
function fields(schema, schemas) {
  const list = element("dl");
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    list.append(element("dt", name), element("dd", type(field, schemas)));
  }
  return list;
}

function type(field, schemas) {
  if (field.$ref) return Object.keys(schemas[field.$ref.split("/").pop()].properties).join(", ");
  if (field.anyOf) {
    return field.anyOf.filter((one) => one.type !== "null").map((one) => type(one, schemas)).join(" or ");
  }
  const values = field.enum ? field.enum.join(", ") : field.type === "array"
    ? `list of ${type(field.items, schemas)}` : field.type ?? "any";
  const least = field.minimum ?? field.exclusiveMinimum;
  const most = field.maximum;
  return values + (least === undefined ? "" : `, from ${least}`) + (most === undefined ? "" : ` to ${most}`) +
    (field.default === undefined || field.default === null ? "" : `; ${field.default} unless given`);
}

async function show() {
  const document_ = await (await fetch("../openapi.json")).json();
  const schemas = document_.components?.schemas ?? {};
  const sections = Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, about]) => {
      const section = element("section", "", element("h2", `${method.toUpperCase()} ${path}`),
        element("p", about.description ?? about.summary));
      const reference = about.requestBody?.content?.["application/json"]?.schema?.$ref;
      if (reference) section.append(fields(schemas[reference.split("/").pop()], schemas));
      return section;
    }));
  main.replaceChildren(...sections);
}

show().catch(() => { main.textContent = "The description cannot be read; this service may ask for its token."; });

"use strict";
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", defaultModelsExpandDepth: 0, validatorUrl: null });

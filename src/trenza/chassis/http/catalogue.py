"""What the chassis itself says to users, in English and Spanish: title, detail and remedy, by the code of the problem."""

from __future__ import annotations

from typing import Final

__all__ = ["CATALOGUE"]

Words = tuple[str, str, str]

CATALOGUE: Final[dict[str, tuple[Words, Words]]] = {
    "BAD_REQUEST": (
        ("Bad request", "The request could not be understood.", "check how it is written"),
        ("Solicitud incorrecta", "No se ha podido entender la solicitud.", "compruebe cómo está escrita"),
    ),
    "UNAUTHENTICATED": (
        ("Authentication required", "Send a token: Authorization: Bearer …", "send a token"),
        ("Se requiere autenticación", "Envíe un token: Authorization: Bearer …", "envíe un token"),
    ),
    "INVALID_TOKEN": (
        ("Invalid token", "The token is {reason}. Ask for a new one.", "ask for a new token"),
        ("Token no válido", "El token no es válido o ha caducado. Solicite otro.", "solicite otro token"),
    ),
    "SEVERAL_AUTHORIZATIONS": (
        (
            "Several Authorization headers",
            "The request has {count} Authorization headers; one is allowed.",
            "send one Authorization header",
        ),
        (
            "Varias cabeceras Authorization",
            "La solicitud tiene {count} cabeceras Authorization; solo se admite una.",
            "envíe una sola cabecera Authorization",
        ),
    ),
    "SCOPE_MISSING": (
        (
            "Permission missing",
            "This needs the scope {scope} (or a higher role of the same service).",
            "ask an administrator for the scope",
        ),
        (
            "Falta un permiso",
            "Se necesita el permiso {scope} (o un rol superior del mismo servicio).",
            "pida el permiso a un administrador",
        ),
    ),
    "FORBIDDEN": (
        ("Forbidden", "This is not allowed.", "ask an administrator"),
        ("Prohibido", "No está permitido.", "consulte a un administrador"),
    ),
    "NOT_FOUND": (
        ("Not found", "There is nothing at this address.", "check the address"),
        ("No encontrado", "No hay nada en esta dirección.", "compruebe la dirección"),
    ),
    "METHOD_NOT_ALLOWED": (
        (
            "Method not allowed",
            "This address does not take that method; the Allow header lists those that it takes.",
            "use one of the methods in Allow",
        ),
        (
            "Método no permitido",
            "Esta dirección no admite ese método; la cabecera Allow indica cuáles admite.",
            "use uno de los métodos de Allow",
        ),
    ),
    "INVALID_REQUEST": (
        ("Invalid request", "Some of what was sent is not as it must be: see errors.", "correct the fields that errors names"),
        (
            "Solicitud no válida",
            "Parte de lo enviado no es como debe ser: consulte errors.",
            "corrija los campos que indica errors",
        ),
    ),
    "JSON_EXPECTED": (
        (
            "JSON expected",
            "The body is read as JSON only where its Content-Type says so: {limit}.",
            "send the body as JSON, with Content-Type: application/json",
        ),
        (
            "Se esperaba JSON",
            "El cuerpo solo se lee como JSON si su Content-Type lo indica: {limit}.",
            "envíe el cuerpo como JSON, con Content-Type: application/json",
        ),
    ),
    "BODY_ENCODED": (
        (
            "Encoded body",
            "The body is read as it is; Content-Encoding may be {limit} only.",
            "send the body without compressing it",
        ),
        (
            "Cuerpo codificado",
            "El cuerpo se lee tal cual; Content-Encoding solo puede ser {limit}.",
            "envíe el cuerpo sin comprimirlo",
        ),
    ),
    "BODY_TOO_LARGE": (
        ("Body too large", "The body may have at most {limit:size} here.", "send less at once"),
        ("Cuerpo demasiado grande", "El cuerpo puede tener aquí como máximo {limit:size}.", "envíe menos de una vez"),
    ),
    "DEADLINE_EXCEEDED": (
        (
            "Took too long",
            "It was given up after {seconds} seconds. It may have taken effect: look before repeating it.",
            "look whether it took effect, then repeat it",
        ),
        (
            "Tiempo agotado",
            "La solicitud se abandonó a los {seconds} segundos. Puede haber surtido efecto: compruébelo antes de repetirla.",
            "compruebe si surtió efecto y repítala",
        ),
    ),
    "CALL_FAILED": (
        (
            "A service failed",
            "The service {service} did not give an answer. The request may have taken effect in part.",
            "look whether it took effect, then repeat it",
        ),
        (
            "Ha fallado un servicio",
            "El servicio {service} no ha respondido. La solicitud puede haber surtido efecto en parte.",
            "compruebe si surtió efecto y repítala",
        ),
    ),
    "SERVICE_UNAVAILABLE": (
        ("Service unavailable", "The service {service} cannot be reached now. Try again later.", "try again later"),
        (
            "Servicio no disponible",
            "Ahora no se puede contactar con el servicio {service}. Inténtelo más tarde.",
            "inténtelo más tarde",
        ),
    ),
    "DATABASE_UNAVAILABLE": (
        ("Database unavailable", "The database does not answer now. Try again later.", "try again later"),
        ("Base de datos no disponible", "La base de datos no responde ahora. Inténtelo más tarde.", "inténtelo más tarde"),
    ),
    "BLOB_MISSING": (
        ("Object not found", "The file is not stored (any more).", "upload it again"),
        ("Objeto no encontrado", "El archivo no está (o ya no está) almacenado.", "súbalo de nuevo"),
    ),
    "INVALID_SIGNATURE": (
        ("Link not valid", "The link is incomplete, was changed, or has expired. Ask for a new one.", "ask for a new link"),
        ("Enlace no válido", "El enlace está incompleto, se ha modificado o ha caducado. Solicite otro.", "solicite otro enlace"),
    ),
    "WRONG_LENGTH": (
        (
            "Not as long as promised",
            "The link takes a file of exactly {limit:size}, as was promised when it was asked for.",
            "put the whole file and nothing else, or ask for a new link",
        ),
        (
            "Longitud distinta de la prometida",
            "El enlace admite un archivo de exactamente {limit:size}, como se prometió al solicitarlo.",
            "envíe el archivo completo y nada más, o solicite otro enlace",
        ),
    ),
    "INVALID_BLOB_KEY": (
        ("Invalid object key", "The name of the stored file is not valid.", "use the link as it was given"),
        ("Clave de objeto no válida", "El nombre del archivo almacenado no es válido.", "use el enlace tal como se recibió"),
    ),
    "BLOBS_UNAVAILABLE": (
        ("Object storage unavailable", "The file storage cannot do it now. Try again later.", "try again later"),
        (
            "Almacenamiento no disponible",
            "El almacenamiento de archivos no puede hacerlo ahora. Inténtelo más tarde.",
            "inténtelo más tarde",
        ),
    ),
    "INTERNAL_ERROR": (
        (
            "Internal error",
            "Something went wrong here. Quote the correlation_id when you report it.",
            "report it with its correlation_id",
        ),
        ("Error interno", "Algo ha ido mal aquí. Indique el correlation_id al comunicarlo.", "comuníquelo con su correlation_id"),
    ),
    "MULTIPART_EXPECTED": (
        ("Multipart expected", "Send the form as multipart/form-data with a boundary.", "send multipart/form-data"),
        ("Se esperaba multipart", "Envíe el formulario como multipart/form-data con un boundary.", "envíe multipart/form-data"),
    ),
    "MALFORMED_MULTIPART": (
        ("Malformed multipart", "The multipart body is damaged: {problem}.", "let a library write the form"),
        ("Multipart mal formado", "El cuerpo multipart está dañado: {problem}.", "deje que una biblioteca escriba el formulario"),
    ),
    "FILE_TOO_LARGE": (
        ("File too large", "The file may have at most {limit:size}.", "make it smaller, for example with a lower resolution"),
        (
            "Archivo demasiado grande",
            "El archivo puede tener como máximo {limit:size}.",
            "redúzcalo, por ejemplo con una resolución menor",
        ),
    ),
    "TOO_MANY_FILES": (
        ("Too many files", "Send at most {limit} files at once.", "send the rest in further requests"),
        ("Demasiados archivos", "Envíe como máximo {limit} archivos a la vez.", "envíe los demás en otras solicitudes"),
    ),
    "TOO_MANY_FIELDS": (
        ("Too many fields", "The form may have at most {limit} fields.", "leave out those that are not needed"),
        ("Demasiados campos", "El formulario puede tener como máximo {limit} campos.", "omita los que no hagan falta"),
    ),
    "FIELD_TOO_LARGE": (
        (
            "Field too large",
            "The field {field} may have at most {limit:size}.",
            'shorten it; give the part of a file its filename="…"',
        ),
        (
            "Campo demasiado grande",
            "El campo {field} puede tener como máximo {limit:size}.",
            'acórtelo; indique filename="…" en la parte de un archivo',
        ),
    ),
    "UPLOAD_TOO_LARGE": (
        (
            "Upload too large",
            "Send at most {files} files of at most {limit:size} each.",
            "send fewer files in each request, and make large ones smaller",
        ),
        (
            "Envío demasiado grande",
            "Envíe como máximo {files} archivos de un máximo de {limit:size} cada uno.",
            "envíe menos archivos en cada solicitud y reduzca los grandes",
        ),
    ),
    "UPLOAD_TOO_SLOW": (
        (
            "Upload too slow",
            "The upload came in at less than {limit} bytes a second. Try again over a better connection.",
            "use a better connection, or a direct upload",
        ),
        (
            "Envío demasiado lento",
            "El envío llegó a menos de {limit} bytes por segundo. Inténtelo con una conexión mejor.",
            "use una conexión mejor o la subida directa",
        ),
    ),
    "INVALID_IDEMPOTENCY_KEY": (
        (
            "Invalid Idempotency-Key",
            "The Idempotency-Key must have 1 to {limit} printable ASCII characters.",
            "send a random UUID",
        ),
        (
            "Idempotency-Key no válida",
            "La Idempotency-Key debe tener de 1 a {limit} caracteres ASCII imprimibles.",
            "envíe un UUID aleatorio",
        ),
    ),
    "IDEMPOTENCY_KEY_REUSED": (
        (
            "Idempotency-Key reused",
            "This Idempotency-Key was used with another request. Use a new one for each request.",
            "use a new key for each request",
        ),
        (
            "Idempotency-Key reutilizada",
            "Esta Idempotency-Key se usó con otra solicitud. Use una nueva en cada solicitud.",
            "use una clave nueva en cada solicitud",
        ),
    ),
    "IDEMPOTENCY_KEY_IN_USE": (
        (
            "Request in progress",
            "The first request with this Idempotency-Key still runs, or its outcome is unknown. Ask again in {retry_after} s.",
            "ask again after Retry-After",
        ),
        (
            "Solicitud en curso",
            "La primera solicitud con esta Idempotency-Key sigue en curso o no se sabe cómo terminó. Repita en {retry_after} s.",
            "repita después de Retry-After",
        ),
    ),
    "INVALID_CURSOR": (
        (
            "Invalid cursor",
            "The cursor is not one that this list gave. Start again without it.",
            "start again without the cursor",
        ),
        ("Cursor no válido", "El cursor no es de esta lista. Empiece de nuevo sin él.", "empiece de nuevo sin el cursor"),
    ),
    "PRECONDITION_FAILED": (
        (
            "Precondition failed",
            "What is here now is not the version that the request names.",
            "fetch it again without the condition",
        ),
        (
            "Condición no cumplida",
            "Lo que hay ahora no es la versión que indica la solicitud.",
            "vuelva a obtenerlo sin la condición",
        ),
    ),
    "RANGE_NOT_SATISFIABLE": (
        ("Range not satisfiable", "The range lies outside of the {size} bytes that there are.", "ask for bytes below size"),
        ("Rango no satisfacible", "El rango está fuera de los {size} bytes que hay.", "pida bytes por debajo de size"),
    ),
}
